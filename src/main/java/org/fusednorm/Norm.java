package org.fusednorm;

import java.util.List;

/** Validates and records the verbs of {@link NormOps}. */
final class Norm implements NormOps {
  /** Numbers per channel are kept in Java arrays. */
  private static final long MOST_CHANNELS = Integer.MAX_VALUE - 8;

  private final Backend backend;

  Norm(Backend backend) {
    this.backend = backend;
  }

  private Engine engine() {
    return backend.engine();
  }

  @Override
  public void moments(Tensor x, Moments out) {
    long stamp = backend.enter();
    try {
      Check.present("out", out);
      data("x", x);
      channels("moments", out.packed(), out.channels(), x.shape().channels());
      Check.apart("moments", out.packed(), "x", x);
      engine().moments(x, out);
      if (backend.isRecording()) {
        backend.keep("norm.moments", () -> engine().moments(x, out), x, out.packed());
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    long stamp = backend.enter();
    try {
      Check.present("out", out);
      gathered(gathered, parts, out.packed());
      engine().merge(gathered, parts, out);
      if (backend.isRecording()) {
        backend.keep(
            "norm.merge", () -> engine().merge(gathered, parts, out), gathered, out.packed());
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    long stamp = backend.enter();
    try {
      Check.present("out", out);
      gathered(gathered, parts, out.packed());
      engine().merge(gathered, parts, out);
      if (backend.isRecording()) {
        backend.keep(
            "norm.merge", () -> engine().merge(gathered, parts, out), gathered, out.packed());
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    long stamp = backend.enter();
    try {
      Check.present("moments", m);
      Check.open(backend, "moments", m.packed());
      saved(out, m.channels());
      Check.affine(backend, a, out.scale().dtype(), m.channels());
      Check.eps(eps);
      engine().coefficients(m, a, eps, out);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    long stamp = backend.enter();
    try {
      saved(out, out.channels());
      running(r, out.channels());
      Check.affine(backend, a, out.scale().dtype(), out.channels());
      Check.eps(eps);
      engine().coefficients(r, a, eps, out);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    long stamp = backend.enter();
    try {
      Check.present("activation", f);
      data("x", x);
      savedFor(s, x);
      gateFor(f, residual, s, x);
      output("y", y, x);
      residual(residual, x, y);
      Check.apartOrSame("y", y, "x", x);
      engine().normalize(x, s, f, residual, y);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    long stamp = backend.enter();
    try {
      Check.present("out", out);
      Check.present("activation", f);
      data("x", x);
      output("dy", dy, x);
      savedFor(s, x);
      channels("sums", out.packed(), out.channels(), x.shape().channels());
      engine().gradientSums(dy, x, s, f, out);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    long stamp = backend.enter();
    try {
      Check.present("total", total);
      Check.present("activation", f);
      gradientArguments(dy, x, s, total, dx, dResidual);
      engine().inputGradient(dy, x, s, total, f, dx, dResidual);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    long stamp = backend.enter();
    try {
      Check.present("sums", s);
      Check.present("gradients", gradients);
      Check.present("write", w);
      Check.open(backend, "sums", s.packed());
      DType t = gradients.gamma() != null ? gradients.gamma().dtype() : DType.F32;
      t = gradients.gamma() == null && gradients.beta() != null ? gradients.beta().dtype() : t;
      Check.affine(backend, gradients, t.parameter(), s.channels());
      Check.apart("gradient of gamma", gradients.gamma(), "that of beta", gradients.beta());
      engine().gradients(s, gradients, w);
      if (backend.isRecording()) {
        backend.keep(
            "norm.gradients",
            () -> engine().gradients(s, gradients, w),
            s.packed(),
            gradients.gamma(),
            gradients.beta());
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void forward(
      Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    forward(x, a, eps, f, residual, out, y, false);
  }

  /** Tells the engine what only a layer knows: whether y is read next. */
  void forward(
      Tensor x,
      Affine a,
      double eps,
      Activation f,
      Tensor residual,
      Saved out,
      Tensor y,
      boolean isReadNext) {
    long stamp = backend.enter();
    try {
      Check.present("activation", f);
      data("x", x);
      savedFor(out, x);
      gateFor(f, residual, out, x);
      Check.affine(backend, a, x.dtype().parameter(), x.shape().channels());
      Check.eps(eps);
      output("y", y, x);
      residual(residual, x, y);
      Check.apart("y", y, "x", x);
      apartFrom("y", y, a);
      if (x.shape().valuesPerChannel() == 1) {
        throw new IllegalArgumentException(
            "training needs more than one value per channel, and x is "
                + x
                + ": use a larger batch, or inference");
      }
      engine().forward(x, a, eps, f, residual, out, y, isReadNext);
      if (backend.isRecording()) {
        backend.keep(
            "norm.forward",
            () -> engine().forward(x, a, eps, f, residual, out, y, isReadNext),
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    long stamp = backend.enter();
    try {
      Check.present("out", out);
      Check.present("activation", f);
      gradientArguments(dy, x, s, out, dx, dResidual);
      engine().backward(dy, x, s, f, out, dx, dResidual);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    long stamp = backend.enter();
    try {
      Check.present("activation", f);
      data("x", x);
      running(r, x.shape().channels());
      Check.affine(backend, a, x.dtype().parameter(), x.shape().channels());
      Check.eps(eps);
      output("y", y, x);
      residual(residual, x, y);
      apartFrom("y", y, a);
      Check.apart("y", y, "running mean", r.mean());
      Check.apart("y", y, "running variance", r.variance());
      Check.apartOrSame("y", y, "x", x);
      engine().infer(x, r, a, eps, f, residual, y);
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
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    long stamp = backend.enter();
    try {
      if (s.size() != r.size()) {
        throw new IllegalArgumentException(
            s.size() + " saved states for " + r.size() + " running statistics");
      }
      for (int i = 0; i < s.size(); i++) {
        Check.present("saved state", s.get(i));
        saved(s.get(i), s.get(i).channels());
        running(r.get(i), s.get(i).channels());
        for (int k = 0; k < i; k++) {
          Check.apart("running mean", r.get(i).mean(), "that of another layer", r.get(k).mean());
        }
      }
      engine().commit(s, r);
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
    } finally {
      backend.leave(stamp);
    }
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
    Check.apart("sums", total.packed(), "dy", dy);
    Check.apart("sums", total.packed(), "x", x);
    Check.apart("sums", total.packed(), "dx", dx);
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
    if (t.shape().channels() > MOST_CHANNELS) {
      throw new IllegalArgumentException(name + " " + t + ": more than 2^31 - 9 channels");
    }
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

  /** What is written must not be what it is computed with. */
  private static void apartFrom(String name, Tensor t, Affine a) {
    Check.apart(name, t, "gamma", a.gamma());
    Check.apart(name, t, "beta", a.beta());
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

  private void running(Running r, long channels) {
    Check.present("running statistics", r);
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
    Check.present("saved state", s);
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
}
