package org.fusednorm;

/**
 * The two sums over a channel that its gradients need, in F64: sum dy (the gradient of beta) and
 * sum dy xhat (that of gamma), dy taken after the activation's gate. One packed tensor holds both,
 * [sumDy(C), sumDyXhat(C)].
 */
public final class Sums implements AutoCloseable {
  private final Tensor packed;
  private final Tensor dy;
  private final Tensor dyXhat;

  private Sums(Tensor packed) {
    this.packed = packed;
    long channels = packed.shape().elements() / 2;
    dy = packed.batch(0, channels);
    dyXhat = packed.batch(channels, 2 * channels);
  }

  /** Room for the sums of {@code channels} channels. */
  public static Sums empty(Memory m, long channels) {
    return new Sums(m.empty(Shape.of(2 * channels), DType.F64));
  }

  /**
   * Sums over a packed tensor, for example a part of a gathered one.
   *
   * @throws IllegalArgumentException unless F64 of shape [2 C]
   */
  public static Sums of(Tensor packed) {
    Shape s = packed.shape();
    if (packed.dtype() != DType.F64 || s.rank() != 1 || s.elements() % 2 != 0) {
      throw new IllegalArgumentException("packed sums are F64 [2 C], not " + packed);
    }
    return new Sums(packed);
  }

  /** [sumDy(C), sumDyXhat(C)], F64. */
  public Tensor packed() {
    return packed;
  }

  /** Number of channels. */
  public long channels() {
    return dy.shape().elements();
  }

  /** Sum of dy, F64 [C]. */
  public Tensor dy() {
    return dy;
  }

  /** Sum of dy xhat, F64 [C]. */
  public Tensor dyXhat() {
    return dyXhat;
  }

  @Override
  public void close() {
    packed.close();
  }
}
