package org.fusednorm;

/** Validates and records the verbs of {@link MathOps}. */
final class Maths implements MathOps {
  private final Backend backend;

  Maths(Backend backend) {
    this.backend = backend;
  }

  private Engine engine() {
    return backend.engine();
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    long stamp = backend.enter();
    try {
      Check.present("write", w);
      computed("a", a);
      operand("b", b, a);
      operand("c", c, a);
      long m = transposeA ? columns(a) : rows(a);
      long k = transposeA ? rows(a) : columns(a);
      long n = transposeB ? rows(b) : columns(b);
      if ((transposeB ? columns(b) : rows(b)) != k || rows(c) != m || columns(c) != n) {
        throw new IllegalArgumentException(
            "matmul of "
                + a
                + (transposeA ? " transposed" : "")
                + " and "
                + b
                + (transposeB ? " transposed" : "")
                + " does not fit "
                + c);
      }
      if (Math.max(Math.max(m, n), k) > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(
            "matmul of " + a + " and " + b + ": a side is over 2^31 - 1");
      }
      Check.apart("c", c, "a", a);
      Check.apart("c", c, "b", b);
      engine().matmul(a, transposeA, b, transposeB, c, w);
      if (backend.isRecording()) {
        backend.keep("matmul", () -> engine().matmul(a, transposeA, b, transposeB, c, w), a, b, c);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    long stamp = backend.enter();
    try {
      computed("x", x);
      operand("bias", bias, x);
      operand("y", y, x);
      Check.same("y", y, "x", x);
      Check.elements("bias", bias, x.dtype(), columns(x));
      Check.apartOrSame("y", y, "x", x);
      Check.apart("y", y, "bias", bias);
      engine().addBias(x, bias, y);
      if (backend.isRecording()) {
        backend.keep("bias", () -> engine().addBias(x, bias, y), x, bias, y);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    long stamp = backend.enter();
    try {
      Check.present("write", w);
      computed("dy", dy);
      operand("dbias", dbias, dy);
      Check.elements("dbias", dbias, dy.dtype(), columns(dy));
      Check.apart("dbias", dbias, "dy", dy);
      engine().biasGradient(dy, dbias, w);
      if (backend.isRecording()) {
        backend.keep("bias.gradient", () -> engine().biasGradient(dy, dbias, w), dy, dbias);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    long stamp = backend.enter();
    try {
      Check.present("nonlinearity", f);
      computed("x", x);
      operand("y", y, x);
      Check.same("y", y, "x", x);
      Check.apartOrSame("y", y, "x", x);
      engine().activate(f, x, y);
      if (backend.isRecording()) {
        backend.keep("activation", () -> engine().activate(f, x, y), x, y);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    long stamp = backend.enter();
    try {
      Check.present("nonlinearity", f);
      computed("y", y);
      operand("dy", dy, y);
      operand("dx", dx, y);
      Check.same("dy", dy, "y", y);
      Check.same("dx", dx, "y", y);
      Check.apartOrSame("dx", dx, "y", y);
      Check.apartOrSame("dx", dx, "dy", dy);
      engine().activationGradient(f, y, dy, dx);
      if (backend.isRecording()) {
        backend.keep(
            "activation.gradient", () -> engine().activationGradient(f, y, dy, dx), y, dy, dx);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    long stamp = backend.enter();
    try {
      computed("logits", logits);
      labels(labels, logits);
      Check.open(backend, "loss", loss);
      Check.elements("loss", loss, DType.F64, 1);
      Check.apart("loss", loss, "logits", logits);
      Check.apart("loss", loss, "dlogits", dlogits);
      if (dlogits != null) {
        operand("dlogits", dlogits, logits);
        Check.same("dlogits", dlogits, "logits", logits);
        Check.apartOrSame("dlogits", dlogits, "logits", logits);
      }
      engine().softmaxCrossEntropy(logits, labels, loss, dlogits);
      if (backend.isRecording()) {
        backend.keep(
            "loss",
            () -> engine().softmaxCrossEntropy(logits, labels, loss, dlogits),
            logits,
            labels,
            loss,
            dlogits);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    long stamp = backend.enter();
    try {
      Check.present("write", w);
      computed("logits", logits);
      labels(labels, logits);
      Check.open(backend, "count", count);
      Check.elements("count", count, DType.I64, 1);
      engine().correct(logits, labels, count, w);
      if (backend.isRecording()) {
        backend.keep(
            "correct", () -> engine().correct(logits, labels, count, w), logits, labels, count);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    long stamp = backend.enter();
    try {
      computed("value", value);
      operand("gradient", gradient, value);
      Check.same("gradient", gradient, "value", value);
      Check.apart("value", value, "gradient", gradient);
      if ((velocity == null) != (momentum == null)) {
        throw new IllegalArgumentException("velocity and momentum come together or not at all");
      }
      if (velocity != null) {
        operand("velocity", velocity, value);
        Check.same("velocity", velocity, "value", value);
        Check.apart("velocity", velocity, "value", value);
        Check.apart("velocity", velocity, "gradient", gradient);
      }
      scalar("learning rate", learningRate);
      if (momentum != null) {
        scalar("momentum", momentum);
      }
      if (weightDecay != null) {
        scalar("weight decay", weightDecay);
      }
      engine().sgd(value, gradient, velocity, learningRate, momentum, weightDecay);
      if (backend.isRecording()) {
        backend.keep(
            "sgd",
            () -> engine().sgd(value, gradient, velocity, learningRate, momentum, weightDecay),
            value,
            gradient,
            velocity,
            learningRate.tensor(),
            momentum == null ? null : momentum.tensor(),
            weightDecay == null ? null : weightDecay.tensor());
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    long stamp = backend.enter();
    try {
      Check.open(backend, "table", table);
      Check.open(backend, "rows", rows);
      Check.open(backend, "out", out);
      Check.dtype("rows", rows, DType.I64);
      boolean converts = table.dtype() == DType.U8 && out.dtype().isFloating();
      if (!converts && (table.dtype() != out.dtype() || scale != 1)) {
        throw new IllegalArgumentException(
            "gather cannot scale " + table + " by " + scale + " into " + out);
      }
      if (converts && !backend.computes(out.dtype())) {
        computed("out", out);
      }
      if (out.shape().batch() != rows.shape().elements() || columns(table) != columns(out)) {
        throw new IllegalArgumentException(
            "gather of rows " + rows + " of " + table + " does not fit " + out);
      }
      Check.apart("out", out, "table", table);
      Check.apart("out", out, "rows", rows);
      engine().gather(table, rows, scale, out);
      if (backend.isRecording()) {
        backend.keep("gather", () -> engine().gather(table, rows, scale, out), table, rows, out);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    long stamp = backend.enter();
    try {
      Check.present("write", w);
      computed("x", x);
      Check.open(backend, "out", out);
      Check.elements("out", out, DType.F64, 1);
      Check.apart("out", out, "x", x);
      engine().squaredNorm(x, out, w);
      if (backend.isRecording()) {
        backend.keep("squaredNorm", () -> engine().squaredNorm(x, out, w), x, out);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  private void computed(String name, Tensor t) {
    Check.open(backend, name, t);
    if (!backend.computes(t.dtype())) {
      throw new IllegalArgumentException(
          name
              + " "
              + t
              + ": the "
              + t.device().backend()
              + " backend does not compute in "
              + t.dtype()
              + " here");
    }
  }

  private void operand(String name, Tensor t, Tensor of) {
    Check.open(backend, name, t);
    Check.dtype(name, t, of.dtype());
  }

  private void labels(Tensor labels, Tensor logits) {
    Check.open(backend, "labels", labels);
    boolean integers = labels.dtype() == DType.I32 || labels.dtype() == DType.I64;
    if (!integers || labels.shape().elements() != rows(logits)) {
      throw new IllegalArgumentException(
          "labels must be I32 or I64 [" + rows(logits) + "], not " + labels);
    }
  }

  private void scalar(String name, Scalar s) {
    if (s == null) {
      throw new IllegalArgumentException(name + " is missing");
    }
    Check.open(backend, name, s.tensor());
  }

  private static long rows(Tensor t) {
    return t.shape().batch();
  }

  private static long columns(Tensor t) {
    long rows = rows(t);
    return rows == 0 ? t.shape().withBatch(1).elements() : t.shape().elements() / rows;
  }
}
