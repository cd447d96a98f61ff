package org.fusednorm;

import java.util.ArrayList;
import java.util.List;

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
  public void denseGradients(
      Tensor dy, Tensor x, Tensor weight, Tensor dweight, Write w, Tensor dx) {
    long stamp = backend.enter();
    try {
      Check.present("write", w);
      computed("dy", dy);
      operand("x", x, dy);
      operand("weight", weight, dy);
      operand("dweight", dweight, dy);
      Check.same("dweight", dweight, "weight", weight);
      if (rows(x) != rows(dy) || columns(dy) != rows(weight) || columns(x) != columns(weight)) {
        throw new IllegalArgumentException(
            "dy " + dy + " and x " + x + " do not fit weight " + weight);
      }
      long longest = Math.max(Math.max(rows(x), columns(x)), columns(dy));
      if (longest > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(
            "gradients of " + dy + " and " + x + ": a side is over 2^31 - 1");
      }
      Check.apart("dweight", dweight, "dy", dy);
      Check.apart("dweight", dweight, "x", x);
      Check.apart("dweight", dweight, "weight", weight);
      if (dx != null) {
        operand("dx", dx, dy);
        Check.same("dx", dx, "x", x);
        Check.apart("dx", dx, "dy", dy);
        Check.apart("dx", dx, "x", x);
        Check.apart("dx", dx, "weight", weight);
        Check.apart("dx", dx, "dweight", dweight);
      }
      engine().denseGradients(dy, x, weight, dweight, w, dx);
      if (backend.isRecording()) {
        backend.keep(
            "dense.gradients",
            () -> engine().denseGradients(dy, x, weight, dweight, w, dx),
            dy,
            x,
            weight,
            dweight,
            dx);
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
      descent(value, gradient, velocity, momentum);
      rates(learningRate, momentum, weightDecay);
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
  public void sgd(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    long stamp = backend.enter();
    try {
      Check.present("parameters", parameters);
      if (velocities != null && velocities.size() != parameters.size()) {
        throw new IllegalArgumentException(
            velocities.size() + " velocities for " + parameters.size() + " parameters");
      }
      for (int i = 0; i < parameters.size(); i++) {
        Parameter p = parameters.get(i);
        Check.present("parameter", p);
        try {
          descent(p.value(), p.gradient(), velocity(velocities, i), momentum);
        } catch (IllegalArgumentException e) {
          throw new IllegalArgumentException(p.name() + ": " + e.getMessage(), e);
        }
        for (int j = 0; j < i; j++) {
          Parameter q = parameters.get(j);
          independent(p, velocity(velocities, i), q, velocity(velocities, j));
          independent(q, velocity(velocities, j), p, velocity(velocities, i));
        }
      }
      rates(learningRate, momentum, weightDecay);
      engine().sgd(parameters, velocities, learningRate, momentum, weightDecay);
      if (backend.isRecording()) {
        keepDescent(parameters, velocities, learningRate, momentum, weightDecay);
      }
    } finally {
      backend.leave(stamp);
    }
  }

  private static Tensor velocity(List<Tensor> velocities, int i) {
    return velocities == null ? null : velocities.get(i);
  }

  /** What a descent of p writes is none of what that of q reads and writes. */
  private static void independent(Parameter p, Tensor velocity, Parameter q, Tensor otherVelocity) {
    apart(p, p.value(), q, q.value());
    apart(p, p.value(), q, q.gradient());
    apart(p, p.value(), q, otherVelocity);
    apart(p, velocity, q, q.gradient());
    apart(p, velocity, q, otherVelocity);
  }

  private static void apart(Parameter p, Tensor t, Parameter q, Tensor other) {
    if (t != null && other != null && t.overlaps(other)) {
      throw new IllegalArgumentException(
          t + " of " + p.name() + " overlaps " + other + " of " + q.name() + ": must be apart");
    }
  }

  /** The lists may change after this call, the recorded launch does not. */
  private void keepDescent(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    List<Parameter> own = List.copyOf(parameters);
    List<Tensor> ownVelocities = velocities == null ? null : List.copyOf(velocities);
    List<Tensor> used = new ArrayList<>();
    for (Parameter p : own) {
      used.add(p.value());
      used.add(p.gradient());
    }
    if (ownVelocities != null) {
      used.addAll(ownVelocities);
    }
    used.add(learningRate.tensor());
    used.add(momentum == null ? null : momentum.tensor());
    used.add(weightDecay == null ? null : weightDecay.tensor());
    backend.keep(
        "sgd",
        () -> engine().sgd(own, ownVelocities, learningRate, momentum, weightDecay),
        used.toArray(new Tensor[0]));
  }

  private void descent(Tensor value, Tensor gradient, Tensor velocity, Scalar momentum) {
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
  }

  private void rates(Scalar learningRate, Scalar momentum, Scalar weightDecay) {
    scalar("learning rate", learningRate);
    if (momentum != null) {
      scalar("momentum", momentum);
    }
    if (weightDecay != null) {
      scalar("weight decay", weightDecay);
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
