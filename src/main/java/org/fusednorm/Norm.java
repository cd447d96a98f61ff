package org.fusednorm;

import java.util.List;

/** Validates and records the verbs of {@link NormOps}. */
final class Norm implements NormOps {
  private final Backend backend;

  Norm(Backend backend) {
    this.backend = backend;
  }

  private Engine engine() {
    return backend.engine();
  }

  @Override
  public void moments(Tensor x, Moments out) {
    data("x", x);
    channels("moments", out.packed(), out.channels(), x.shape().channels());
    Check.apart("moments", out.packed(), "x", x);
    if (backend.isRecording()) {
      backend.keep("norm.moments", () -> engine().moments(x, out), x, out.packed());
    }
    engine().moments(x, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    gathered(gathered, parts, out.packed());
    if (backend.isRecording()) {
      backend.keep(
          "norm.merge", () -> engine().merge(gathered, parts, out), gathered, out.packed());
    }
    engine().merge(gathered, parts, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    gathered(gathered, parts, out.packed());
    if (backend.isRecording()) {
      backend.keep(
          "norm.merge", () -> engine().merge(gathered, parts, out), gathered, out.packed());
    }
    engine().merge(gathered, parts, out);
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    Check.open(backend, "moments", m.packed());
    saved(out, m.channels());
    affine(a, out.scale().dtype(), m.channels());
    eps(eps);
    if (backend.isRecording()) {
      backend.keep(
          "norm.coefficients",
          () -> engine().coefficients(m, a, eps, out),
          m.packed(),
          a.gamma(),
          a.beta(),
          out.mean(),
          out.scale(),
          out.count());
    }
    engine().coefficients(m, a, eps, out);
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    saved(out, out.channels());
    running(r, out.channels());
    affine(a, out.scale().dtype(), out.channels());
    eps(eps);
    if (backend.isRecording()) {
      backend.keep(
          "norm.coefficients",
          () -> engine().coefficients(r, a, eps, out),
          r.mean(),
          r.variance(),
          a.gamma(),
          a.beta(),
          out.mean(),
          out.scale(),
          out.count());
    }
    engine().coefficients(r, a, eps, out);
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    data("x", x);
    savedFor(s, x);
    gateFor(f, residual, s, x);
    output("y", y, x);
    residual(residual, x, y);
    Check.apartOrSame("y", y, "x", x);
    if (backend.isRecording()) {
      backend.keep(
          "norm.normalize",
          () -> engine().normalize(x, s, f, residual, y),
          x,
          s.scale(),
          s.gate(),
          residual,
          y);
    }
    engine().normalize(x, s, f, residual, y);
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    data("x", x);
    output("dy", dy, x);
    savedFor(s, x);
    channels("sums", out.packed(), out.channels(), x.shape().channels());
    if (backend.isRecording()) {
      backend.keep(
          "norm.gradientSums",
          () -> engine().gradientSums(dy, x, s, f, out),
          dy,
          x,
          s.mean(),
          s.scale(),
          s.gate(),
          out.packed());
    }
    engine().gradientSums(dy, x, s, f, out);
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    gradientArguments(dy, x, s, total, dx, dResidual);
    if (backend.isRecording()) {
      backend.keep(
          "norm.inputGradient",
          () -> engine().inputGradient(dy, x, s, total, f, dx, dResidual),
          dy,
          x,
          s.mean(),
          s.scale(),
          s.count(),
          s.gate(),
          total.packed(),
          dx,
          dResidual);
    }
    engine().inputGradient(dy, x, s, total, f, dx, dResidual);
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    Check.open(backend, "sums", s.packed());
    DType t = gradients.gamma() != null ? gradients.gamma().dtype() : DType.F32;
    t = gradients.gamma() == null && gradients.beta() != null ? gradients.beta().dtype() : t;
    affine(gradients, t.parameter(), s.channels());
    if (backend.isRecording()) {
      backend.keep(
          "norm.gradients",
          () -> engine().gradients(s, gradients, w),
          s.packed(),
          gradients.gamma(),
          gradients.beta());
    }
    engine().gradients(s, gradients, w);
  }

  @Override
  public void forward(
      Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    data("x", x);
    savedFor(out, x);
    gateFor(f, residual, out, x);
    affine(a, x.dtype().parameter(), x.shape().channels());
    eps(eps);
    output("y", y, x);
    residual(residual, x, y);
    Check.apart("y", y, "x", x);
    if (x.shape().valuesPerChannel() == 1) {
      throw new IllegalArgumentException(
          "training needs more than one value per channel, and x is "
              + x
              + ": use a larger batch, or inference");
    }
    if (backend.isRecording()) {
      backend.keep(
          "norm.forward",
          () -> engine().forward(x, a, eps, f, residual, out, y),
          x,
          a.gamma(),
          a.beta(),
          residual,
          out.mean(),
          out.scale(),
          out.count(),
          out.gate(),
          y);
    }
    engine().forward(x, a, eps, f, residual, out, y);
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    gradientArguments(dy, x, s, out, dx, dResidual);
    if (backend.isRecording()) {
      backend.keep(
          "norm.backward",
          () -> engine().backward(dy, x, s, f, out, dx, dResidual),
          dy,
          x,
          s.mean(),
          s.scale(),
          s.count(),
          s.gate(),
          out.packed(),
          dx,
          dResidual);
    }
    engine().backward(dy, x, s, f, out, dx, dResidual);
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    data("x", x);
    running(r, x.shape().channels());
    affine(a, x.dtype().parameter(), x.shape().channels());
    eps(eps);
    output("y", y, x);
    residual(residual, x, y);
    Check.apartOrSame("y", y, "x", x);
    if (backend.isRecording()) {
      backend.keep(
          "norm.infer",
          () -> engine().infer(x, r, a, eps, f, residual, y),
          x,
          r.mean(),
          r.variance(),
          a.gamma(),
          a.beta(),
          residual,
          y);
    }
    engine().infer(x, r, a, eps, f, residual, y);
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    if (s.size() != r.size()) {
      throw new IllegalArgumentException(
          s.size() + " saved states for " + r.size() + " running statistics");
    }
    for (int i = 0; i < s.size(); i++) {
      saved(s.get(i), s.get(i).channels());
      running(r.get(i), s.get(i).channels());
    }
    if (backend.isRecording()) {
      List<Saved> from = List.copyOf(s);
      List<Running> to = List.copyOf(r);
      Tensor[] uses = new Tensor[6 * from.size()];
      for (int i = 0; i < from.size(); i++) {
        uses[6 * i] = from.get(i).mean();
        uses[6 * i + 1] = from.get(i).count();
        uses[6 * i + 2] = to.get(i).mean();
        uses[6 * i + 3] = to.get(i).variance();
        uses[6 * i + 4] = to.get(i).count();
        Scalar momentum = to.get(i).momentum();
        uses[6 * i + 5] = momentum == null ? null : momentum.tensor();
      }
      backend.keep("norm.commit", () -> engine().commit(from, to), uses);
    }
    engine().commit(s, r);
  }

  private void gradientArguments(
      Tensor dy, Tensor x, Saved s, Sums total, Tensor dx, Tensor dResidual) {
    data("x", x);
    output("dy", dy, x);
    output("dx", dx, x);
    savedFor(s, x);
    channels("sums", total.packed(), total.channels(), x.shape().channels());
    Check.apartOrSame("dx", dx, "dy", dy);
    Check.apartOrSame("dx", dx, "x", x);
    Check.apartOrSame("dy", dy, "x", x);
    if (dResidual != null) {
      output("dResidual", dResidual, x);
      Check.apartOrSame("dResidual", dResidual, "dy", dy);
      Check.apart("dResidual", dResidual, "x", x);
      Check.apart("dResidual", dResidual, "dx", dx);
    }
  }

  private void data(String name, Tensor t) {
    Check.open(backend, name, t);
    if (!t.dtype().isFloating()) {
      throw new IllegalArgumentException(name + " must be F32, F16, BF16 or F64, not " + t);
    }
    t.shape().channels();
  }

  private void output(String name, Tensor t, Tensor x) {
    Check.open(backend, name, t);
    Check.same(name, t, "x", x);
  }

  private void residual(Tensor residual, Tensor x, Tensor y) {
    if (residual != null) {
      output("residual", residual, x);
      Check.apartOrSame("y", y, "residual", residual);
    }
  }

  private void channels(String name, Tensor packed, long channels, long wanted) {
    Check.open(backend, name, packed);
    if (channels != wanted) {
      throw new IllegalArgumentException(
          name + " are of " + channels + " channels, the data has " + wanted);
    }
  }

  private void gathered(Tensor gathered, int parts, Tensor out) {
    Check.open(backend, "gathered", gathered);
    Check.open(backend, "out", out);
    if (parts < 1) {
      throw new IllegalArgumentException("parts must be at least 1, not " + parts);
    }
    Check.elements("gathered", gathered, DType.F64, parts * out.shape().elements());
    Check.apart("out", out, "gathered", gathered);
  }

  private void affine(Affine a, DType type, long channels) {
    if (a.gamma() != null) {
      Check.open(backend, "gamma", a.gamma());
      Check.elements("gamma", a.gamma(), type, channels);
    }
    if (a.beta() != null) {
      Check.open(backend, "beta", a.beta());
      Check.elements("beta", a.beta(), type, channels);
    }
  }

  private void running(Running r, long channels) {
    Check.open(backend, "running mean", r.mean());
    Check.open(backend, "running variance", r.variance());
    Check.open(backend, "running count", r.count());
    Check.elements("running mean", r.mean(), DType.F64, channels);
    Check.elements("running variance", r.variance(), DType.F64, channels);
    Check.elements("running count", r.count(), DType.I64, 1);
    if (r.momentum() != null) {
      Check.open(backend, "momentum", r.momentum().tensor());
    }
  }

  private void saved(Saved s, long channels) {
    Check.open(backend, "saved state", s.scale());
    if (s.channels() != channels) {
      throw new IllegalArgumentException(
          "the saved state is of " + s.channels() + " channels, the data has " + channels);
    }
  }

  private void savedFor(Saved s, Tensor x) {
    saved(s, x.shape().channels());
    if (s.scale().dtype() != x.dtype().parameter()) {
      throw new IllegalArgumentException(
          "the saved state is not for " + x.dtype() + ": its coefficients are " + s.scale());
    }
    if (s.gate() != null && s.gate().bytes() < backend.gateBytes(x.shape())) {
      throw new IllegalArgumentException(
          "the ReLU gate of " + s.gate().bytes() + " bytes is too small for " + x);
    }
  }

  /** A mask that depends on the residual cannot be recomputed from x, so it must be kept. */
  private static void gateFor(Activation f, Tensor residual, Saved s, Tensor x) {
    boolean needed = f == Activation.RELU && residual != null;
    if (needed && s.gate() == null) {
      throw new IllegalArgumentException(
          "ReLU after a residual needs a saved state with a gate, for " + x);
    }
  }

  private static void eps(double eps) {
    if (!(eps >= 0) || Double.isInfinite(eps)) {
      throw new IllegalArgumentException("eps must be finite and not negative, not " + eps);
    }
  }
}
