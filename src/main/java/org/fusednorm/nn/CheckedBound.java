package org.fusednorm.nn;

import java.util.concurrent.atomic.AtomicReference;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** The rules that all bound layers share. */
abstract class CheckedBound implements Bound {
  private final String name;
  private final Use use;
  private final Tensor y;
  private final Tensor dx;
  private final AtomicReference<Thread> user = new AtomicReference<>();
  private boolean filled;

  /**
   * Takes over {@code y}.
   *
   * @param name of the layer, for error texts
   */
  CheckedBound(String name, Use use, Tensor dx, Tensor y) {
    this.name = name;
    this.use = use;
    this.dx = dx;
    this.y = y;
  }

  /** Called before anything is allocated. */
  static void checkGradient(String name, Use use, Tensor x, Tensor dx) {
    if (dx == null) {
      return;
    }
    if (use == Use.INFER) {
      throw new IllegalArgumentException(name + " bound for inference has no gradient: no dx");
    }
    if (!dx.shape().equals(x.shape()) || dx.dtype() != x.dtype()) {
      throw new IllegalArgumentException(
          name + ": dx " + dx + " and x " + x + " must agree in shape and dtype");
    }
  }

  abstract void compute();

  abstract void differentiate(Tensor dy, Write w);

  @Override
  public final Tensor y() {
    return y;
  }

  @Override
  public final Tensor dx() {
    return dx;
  }

  @Override
  public final void forward() {
    enter();
    try {
      compute();
      filled = true;
    } finally {
      user.set(null);
    }
  }

  @Override
  public final void backward(Tensor dy, Write w) {
    enter();
    try {
      if (use == Use.INFER) {
        throw new IllegalStateException(name + " is bound for inference: it has no backward");
      }
      if (!filled) {
        throw new IllegalStateException(name + " holds no forward: call forward first");
      }
      differentiate(dy, w);
    } finally {
      user.set(null);
    }
  }

  private void enter() {
    Thread me = Thread.currentThread();
    Thread other = user.compareAndExchange(null, me);
    if (other != null) {
      throw new IllegalStateException(
          name
              + " bound once serves one thread at a time: "
              + other.getName()
              + " is using it, "
              + me.getName()
              + " came in between");
    }
  }

  @Override
  public void close() {
    y.close();
  }
}
