package org.fusednorm;

/** Rules that the verbs share. Texts are built only when a rule is broken. */
final class Check {
  private Check() {}

  /** Given at all. */
  static void present(String name, Object argument) {
    if (argument == null) {
      throw new IllegalArgumentException(name + " is missing");
    }
  }

  /** Open, and of this backend. */
  static void open(Backend b, String name, Tensor t) {
    present(name, t);
    t.check();
    if (t.backend() != b) {
      throw new IllegalArgumentException(name + " " + t + " is not of " + b + ": move it there");
    }
  }

  static void dtype(String name, Tensor t, DType wanted) {
    if (t.dtype() != wanted) {
      throw new IllegalArgumentException(name + " must be " + wanted + ", not " + t);
    }
  }

  /** Of this many elements of this type. */
  static void elements(String name, Tensor t, DType type, long elements) {
    if (t.dtype() != type || t.shape().elements() != elements) {
      throw new IllegalArgumentException(
          name + " must be [" + elements + "] " + type + ", not " + t);
    }
  }

  /** Same shape and type. */
  static void same(String name, Tensor t, String otherName, Tensor other) {
    if (t.dtype() != other.dtype() || !t.shape().equals(other.shape())) {
      throw new IllegalArgumentException(
          name + " " + t + " and " + otherName + " " + other + " must agree in shape and dtype");
    }
  }

  /** No common byte. */
  static void apart(String name, Tensor t, String otherName, Tensor other) {
    if (t != null && other != null && t.overlaps(other)) {
      throw new IllegalArgumentException(
          name + " " + t + " overlaps " + otherName + " " + other + ": must be apart");
    }
  }

  /** No common byte, or all of them. */
  static void apartOrSame(String name, Tensor t, String otherName, Tensor other) {
    if (t != null && other != null && t.overlaps(other) && !t.sameElements(other)) {
      throw new IllegalArgumentException(
          name + " " + t + " overlaps a part of " + otherName + " " + other);
    }
  }

  static void affine(Backend backend, Affine a, DType type, long channels) {
    Check.present("affine", a);
    if (a.gamma() != null) {
      Check.open(backend, "gamma", a.gamma());
      Check.elements("gamma", a.gamma(), type, channels);
    }
    if (a.beta() != null) {
      Check.open(backend, "beta", a.beta());
      Check.elements("beta", a.beta(), type, channels);
    }
  }

  static void eps(double eps) {
    if (!(eps >= 0) || Double.isInfinite(eps)) {
      throw new IllegalArgumentException("eps must be finite and not negative, not " + eps);
    }
  }
}
