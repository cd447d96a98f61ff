package org.fusednorm.cuda;

import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Engine;
import org.fusednorm.Moments;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Parameter;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * The verbs of an engine: each is one of {@link CudaNorm} or {@link CudaMath}, with the context
 * bound and under the engine's lock.
 */
abstract class CudaVerbs implements Engine {
  final CudaContext context;
  final Launches launches;
  final CudaMath math;
  private final CudaNorm norm;

  CudaVerbs(CudaContext context, Launches launches, CudaNorm norm, CudaMath math) {
    this.context = context;
    this.launches = launches;
    this.norm = norm;
    this.math = math;
  }

  /** No object stands for a call here: a step of training makes none. */
  private void enter() {
    context.enter();
    launches.reset();
  }

  @Override
  public boolean computes(DType t) {
    return math.computes(t);
  }

  @Override
  public long gateBytes(Shape s) {
    return norm.gateBytes(s);
  }

  @Override
  public void moments(Tensor x, Moments out) {
    enter();
    try {
      norm.moments(x, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    enter();
    try {
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    enter();
    try {
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    enter();
    try {
      norm.coefficients(m, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    enter();
    try {
      norm.coefficients(r, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    enter();
    try {
      norm.normalize(x, s, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    enter();
    try {
      norm.gradientSums(dy, x, s, f, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    enter();
    try {
      norm.inputGradient(dy, x, s, total, f, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    enter();
    try {
      norm.gradients(s, gradients, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void forward(
      Tensor x,
      Affine a,
      double eps,
      Activation f,
      Tensor residual,
      Saved out,
      Tensor y,
      boolean isReadNext) {
    enter();
    try {
      norm.forward(x, a, eps, f, residual, out, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    enter();
    try {
      norm.backward(dy, x, s, f, out, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    enter();
    try {
      norm.infer(x, r, a, eps, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    enter();
    try {
      norm.commit(s, r);
    } finally {
      context.leave();
    }
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    enter();
    try {
      math.matmul(a, transposeA, b, transposeB, c, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    enter();
    try {
      math.addBias(x, bias, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    enter();
    try {
      math.biasGradient(dy, dbias, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    enter();
    try {
      math.activate(f, x, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    enter();
    try {
      math.activationGradient(f, y, dy, dx);
    } finally {
      context.leave();
    }
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    enter();
    try {
      math.softmaxCrossEntropy(logits, labels, loss, dlogits);
    } finally {
      context.leave();
    }
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    enter();
    try {
      math.correct(logits, labels, count, w);
    } finally {
      context.leave();
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
    enter();
    try {
      math.descent.run(value, gradient, velocity, learningRate, momentum, weightDecay);
    } finally {
      context.leave();
    }
  }

  @Override
  public void sgd(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    enter();
    try {
      math.descent.run(parameters, velocities, learningRate, momentum, weightDecay);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    enter();
    try {
      math.gather(table, rows, scale, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    enter();
    try {
      math.squaredNorm(x, out, w);
    } finally {
      context.leave();
    }
  }
}
