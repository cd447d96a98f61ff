package org.fusednorm;

/**
 * Count, mean and M2 (the sum of squared deviations from the mean) per channel: what is merged and
 * exchanged, in F64. One packed tensor holds all, [count, mean(C), M2(C)], so that one message
 * carries it; a count is exact in F64 up to 2^53.
 */
public final class Moments implements AutoCloseable {
  private final Tensor packed;
  private final Tensor count;
  private final Tensor mean;
  private final Tensor m2;

  private Moments(Tensor packed) {
    this.packed = packed;
    long channels = (packed.shape().elements() - 1) / 2;
    count = packed.batch(0, 1);
    mean = packed.batch(1, 1 + channels);
    m2 = packed.batch(1 + channels, 1 + 2 * channels);
  }

  /** Room for the moments of {@code channels} channels. */
  public static Moments empty(Memory m, long channels) {
    return new Moments(m.empty(Shape.of(1 + 2 * channels), DType.F64));
  }

  /**
   * Moments over a packed tensor, for example a part of a gathered one.
   *
   * @throws IllegalArgumentException unless F64 of shape [1 + 2 C]
   */
  public static Moments of(Tensor packed) {
    Shape s = packed.shape();
    if (packed.dtype() != DType.F64 || s.rank() != 1 || s.elements() % 2 != 1) {
      throw new IllegalArgumentException("packed moments are F64 [1 + 2 C], not " + packed);
    }
    return new Moments(packed);
  }

  /** [count, mean(C), M2(C)], F64. */
  public Tensor packed() {
    return packed;
  }

  /** Number of channels. */
  public long channels() {
    return mean.shape().elements();
  }

  /** Values per channel, F64 [1]. */
  public Tensor count() {
    return count;
  }

  /** Mean, F64 [C]. */
  public Tensor mean() {
    return mean;
  }

  /** Sum of squared deviations from the mean, F64 [C]. */
  public Tensor m2() {
    return m2;
  }

  @Override
  public void close() {
    packed.close();
  }
}
