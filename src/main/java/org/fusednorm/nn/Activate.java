package org.fusednorm.nn;

import org.fusednorm.Memory;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * An element-wise function of data of any shape; no parameters. Its gradient is computed from its
 * output, so what it read may change after the forward.
 */
public final class Activate implements Layer {
  private final Nonlinearity function;

  /** A layer that applies {@code f}. */
  public Activate(Nonlinearity f) {
    function = f;
  }

  /** 1 / (1 + exp(-x)). */
  public static Activate sigmoid() {
    return new Activate(Nonlinearity.SIGMOID);
  }

  /** tanh(x). */
  public static Activate tanh() {
    return new Activate(Nonlinearity.TANH);
  }

  /** max(0, x). After a batch normalization, let that do it: {@code activation(RELU)}. */
  public static Activate relu() {
    return new Activate(Nonlinearity.RELU);
  }

  @Override
  public Bound bind(Tensor x, Tensor dx, Use use, Memory m) {
    CheckedBound.checkGradient(toString(), use, x, dx);
    return new BoundActivate(x, dx, use, m.empty(x.shape(), x.dtype()));
  }

  @Override
  public boolean gradientInPlace() {
    return true;
  }

  /** For example {@code Activate(SIGMOID)}. */
  @Override
  public String toString() {
    return "Activate(" + function + ")";
  }

  private final class BoundActivate extends CheckedBound {
    private final Tensor x;

    BoundActivate(Tensor x, Tensor dx, Use use, Tensor y) {
      super(Activate.this.toString(), use, dx, y);
      this.x = x;
    }

    @Override
    void compute() {
      x.backend().math().activate(function, x, y());
    }

    @Override
    void differentiate(Tensor dy, Write w) {
      if (dx() != null) {
        x.backend().math().activationGradient(function, y(), dy, dx());
      }
    }
  }
}
