package org.fusednorm.nn;

import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/**
 * Mean over the batch of -log softmax(logits)[label], with its gradient, bound to the logits of a
 * network. Allocates nothing after {@link #bind}.
 */
public final class SoftmaxCrossEntropy implements AutoCloseable {
  private final Tensor logits;
  private final Tensor labels;
  private final Tensor loss;
  private final Tensor dlogits;

  private SoftmaxCrossEntropy(Tensor logits, Tensor labels, Memory m) {
    this.logits = logits;
    this.labels = labels;
    loss = m.zeros(Shape.of(), DType.F64);
    dlogits = m.empty(logits.shape(), logits.dtype());
  }

  /**
   * Binds the loss.
   *
   * @param logits [batch, classes]
   * @param labels I32 or I64 [batch], each in 0..classes-1
   * @param m where loss and gradient are kept
   */
  public static SoftmaxCrossEntropy bind(Tensor logits, Tensor labels, Memory m) {
    if (labels.shape().elements() != logits.shape().batch()) {
      throw new IllegalArgumentException("labels " + labels + " do not fit logits " + logits);
    }
    return new SoftmaxCrossEntropy(logits, labels, m);
  }

  /** Loss of the last forward, F64, one element. */
  public Tensor loss() {
    return loss;
  }

  /** Gradient of the last forward, (softmax - onehot) / batch; the logits stay as they were. */
  public Tensor dlogits() {
    return dlogits;
  }

  /** Computes loss and gradient in one launch. */
  public void forward() {
    logits.backend().math().softmaxCrossEntropy(logits, labels, loss, dlogits);
  }

  @Override
  public void close() {
    loss.close();
    dlogits.close();
  }
}
