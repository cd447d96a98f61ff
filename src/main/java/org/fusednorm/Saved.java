package org.fusednorm;

/**
 * What a forward used, kept for its backward: exactly the numbers, so that the ReLU mask comes out
 * the same bit for bit and an optimizer that ran in between (gamma enters {@link #scale}) does no
 * harm.
 *
 * <p>Per element y = (x - c) a + b, with c the mean rounded to the coefficient type, a = gamma
 * invstd and b = beta - (mean - c) a, all three computed in F64 before rounding; so a mean of 1e6
 * beside a deviation of 0.1 costs no accuracy.
 *
 * <p>A count of 0 says that the statistics were constants (running averages): its backward is dx =
 * a dy, and {@link NormOps#commit} passes it by.
 */
public final class Saved implements AutoCloseable {
  private final Tensor count;
  private final Tensor mean;
  private final Tensor variance;
  private final Tensor invstd;
  private final Tensor center;
  private final Tensor scale;
  private final Tensor shift;
  private final Tensor gate;
  private final Tensor statistics;
  private final Tensor coefficients;

  private Saved(Tensor count, Tensor statistics, Tensor coefficients, Tensor gate) {
    this.count = count;
    this.statistics = statistics;
    this.coefficients = coefficients;
    this.gate = gate;
    long c = statistics.shape().elements() / 3;
    mean = statistics.batch(0, c);
    variance = statistics.batch(c, 2 * c);
    invstd = statistics.batch(2 * c, 3 * c);
    center = coefficients.batch(0, c);
    scale = coefficients.batch(c, 2 * c);
    shift = coefficients.batch(2 * c, 3 * c);
  }

  /**
   * Room for what a forward of data of this shape and type saves.
   *
   * @param gate whether to keep the ReLU mask bit for bit, which a residual added before the ReLU
   *     needs; without residual the mask is recomputed from x, which backward reads anyway
   */
  public static Saved empty(Memory m, Shape s, DType data, boolean gate) {
    long c = s.channels();
    Tensor mask = gate ? m.zeros(Shape.of(m.backend().gateBytes(s)), DType.U8) : null;
    return new Saved(
        m.zeros(Shape.of(1), DType.I64),
        m.zeros(Shape.of(3 * c), DType.F64),
        m.zeros(Shape.of(3 * c), data.parameter()),
        mask);
  }

  /** Number of channels. */
  public long channels() {
    return mean.shape().elements();
  }

  /** Values per channel, I64 [1]; 0 when the statistics were constants. */
  public Tensor count() {
    return count;
  }

  /** Mean, F64 [C]. */
  public Tensor mean() {
    return mean;
  }

  /** Biased variance, F64 [C]. */
  public Tensor variance() {
    return variance;
  }

  /** 1 / sqrt(variance + eps), F64 [C]. */
  public Tensor invstd() {
    return invstd;
  }

  /** c, the mean rounded, [C]. */
  public Tensor center() {
    return center;
  }

  /** a = gamma invstd, [C]. */
  public Tensor scale() {
    return scale;
  }

  /** b = beta - (mean - c) a, [C]. */
  public Tensor shift() {
    return shift;
  }

  /** The ReLU mask in the engine's own layout, U8, or null. */
  public Tensor gate() {
    return gate;
  }

  @Override
  public void close() {
    count.close();
    statistics.close();
    coefficients.close();
    if (gate != null) {
      gate.close();
    }
  }
}
