package org.fusednorm.bench;

import java.util.SplittableRandom;
import org.fusednorm.DType;
import org.fusednorm.Half;

/**
 * What a {@link NormCase} is computed from: the same values for every library.
 *
 * @param x the input
 * @param dy the upstream gradient
 * @param residual added before the ReLU
 * @param gamma [C]
 * @param beta [C]
 * @param mean running mean [C]
 * @param variance running variance [C]
 */
record NormData(
    Values x,
    Values dy,
    Values residual,
    float[] gamma,
    float[] beta,
    float[] mean,
    float[] variance) {
  /** Elements of a tensor by their place in memory. */
  interface Values {
    /** Writes n elements, the first of which is number {@code from} of the tensor. */
    void fill(long from, float[] to, int n);
  }

  /** A prime, so that no channel gets the same values in every image. */
  private static final int PERIOD = 1_000_003;

  /** Uniform in [-2, 2), exact in the type of the case. */
  static NormData random(NormCase c) {
    return withInput(c, pattern(c.type(), 1));
  }

  /** The same but for x. */
  static NormData withInput(NormCase c, Values x) {
    int channels = c.channels();
    float[] gamma = new float[channels];
    float[] beta = new float[channels];
    float[] mean = new float[channels];
    float[] variance = new float[channels];
    for (int i = 0; i < channels; i++) {
      gamma[i] = 0.5f + 0.125f * (i % 7);
      beta[i] = 0.25f * (i % 5) - 0.5f;
      mean[i] = 0.125f * (i % 3) - 0.125f;
      variance[i] = 1 + 0.25f * (i % 4);
    }
    return new NormData(x, pattern(c.type(), 2), pattern(c.type(), 3), gamma, beta, mean, variance);
  }

  private static Values pattern(DType type, long seed) {
    float[] values = new float[PERIOD];
    SplittableRandom random = new SplittableRandom(seed);
    for (int i = 0; i < PERIOD; i++) {
      float v = (float) (4 * random.nextDouble() - 2);
      values[i] =
          switch (type) {
            case BF16 -> Half.fromBf16(Half.toBf16(v));
            case F16 -> Half.fromF16(Half.toF16(v));
            default -> v;
          };
    }
    return (from, to, n) -> {
      for (int done = 0; done < n; ) {
        int at = (int) ((from + done) % PERIOD);
        int length = Math.min(n - done, PERIOD - at);
        System.arraycopy(values, at, to, done, length);
        done += length;
      }
    };
  }
}
