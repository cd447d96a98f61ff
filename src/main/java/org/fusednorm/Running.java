package org.fusednorm;

import java.util.Arrays;

/**
 * Statistics kept over batches for inference, in F64 so that they lose nothing at large means.
 *
 * @param mean F64, one value per channel
 * @param variance F64, one value per channel
 * @param count I64, one element: number of batches committed so far
 * @param momentum weight of the new value (PyTorch's meaning); null for the cumulative average, in
 *     which every batch weighs the same
 * @param unbiased whether the batch variance enters times m / (m - 1), as in the paper's Alg. 2
 */
public record Running(Tensor mean, Tensor variance, Tensor count, Scalar momentum, boolean unbiased)
    implements AutoCloseable {
  /** Moving averages: mean 0, variance 1, no batch yet; {@code momentum} weighs the new value. */
  public static Running moving(Memory m, long channels, double momentum, boolean unbiased) {
    if (!(momentum >= 0 && momentum <= 1)) {
      throw new IllegalArgumentException("momentum must be in 0..1, not " + momentum);
    }
    return empty(m, channels, m.scalar(momentum), unbiased);
  }

  /**
   * The average of all batches, of the means and of the variances; mean 0, variance 1, no batch
   * yet. Unbiased, it holds the population statistics of the paper's Alg. 2 (steps 8 to 10): E[x] =
   * E_B[mean_B] and Var[x] = m / (m - 1) E_B[variance_B].
   */
  public static Running cumulative(Memory m, long channels, boolean unbiased) {
    return empty(m, channels, null, unbiased);
  }

  private static Running empty(Memory m, long channels, Scalar momentum, boolean unbiased) {
    Running r =
        new Running(
            m.empty(Shape.of(channels), DType.F64),
            m.empty(Shape.of(channels), DType.F64),
            m.empty(Shape.of(), DType.I64),
            momentum,
            unbiased);
    r.reset();
    return r;
  }

  /** Starts anew: mean 0, variance 1, count 0. */
  public void reset() {
    mean.fillZero();
    double[] ones = new double[Math.toIntExact(variance.shape().elements())];
    Arrays.fill(ones, 1);
    variance.copyFrom(ones);
    count.fillZero();
  }

  /** Frees the tensors. */
  @Override
  public void close() {
    mean.close();
    variance.close();
    count.close();
    if (momentum != null) {
      momentum.close();
    }
  }
}
