package org.fusednorm.nn;

import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * A layer bound to its input. Forward and backward allocate nothing and touch nothing on the host,
 * so they can be recorded. One thread at a time; a second one is detected.
 */
public interface Bound extends AutoCloseable {
  /** Output of the last forward. */
  Tensor y();

  /** Gradient of the input after a backward; null when bound without. */
  Tensor dx();

  /** y = f(x). In training, batch statistics are also taken into the running ones. */
  void forward();

  /**
   * Gradients of the last forward.
   *
   * @param dy gradient of y, same shape and type; unchanged, unless it is {@code dx} itself, which
   *     {@link Layer#gradientInPlace} allows
   * @param w whether the parameters' gradients are replaced or added to; dx is always replaced
   * @throws IllegalStateException when bound for inference, or before the first forward
   */
  void backward(Tensor dy, Write w);

  /** Frees what binding took; not the layer, its input or {@code dx}. */
  @Override
  void close();
}
