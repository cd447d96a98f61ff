package org.fusednorm.bench;

import java.util.List;
import java.util.SplittableRandom;

/**
 * Data that is hard to normalize in F32.
 *
 * @param name what is hard
 * @param images, channels, size the shape; planes are size x size
 * @param values one value after another, image by image and channel by channel
 * @param special a channel with NaN or Inf, which must keep them to itself; -1 for none
 */
record HardInput(String name, int images, int channels, int size, Generator values, int special) {
  /** The value of one place; n, c, i count images, channels and places of a plane. */
  interface Generator {
    double at(int n, int c, int i, SplittableRandom random);
  }

  private static final long SEED = 7;
  private static final int CHANNELS = 16;
  private static final int SPECIAL = 3;

  static final List<HardInput> ALL =
      List.of(
          small("N(0, 1)", (n, c, i, r) -> r.nextGaussian()),
          large("N(0, 1)", (n, c, i, r) -> r.nextGaussian()),
          small("mean 1e4, deviation 1", (n, c, i, r) -> 1e4 + r.nextGaussian()),
          large("mean 1e4, deviation 1", (n, c, i, r) -> 1e4 + r.nextGaussian()),
          small("mean 1e6, deviation 0.1", (n, c, i, r) -> 1e6 + 0.1 * r.nextGaussian()),
          large("mean 1e6, deviation 0.1", (n, c, i, r) -> 1e6 + 0.1 * r.nextGaussian()),
          small("uniform +-3e19, whose squares overflow", (n, c, i, r) -> uniform(3e19, r)),
          small("uniform +-3e38", (n, c, i, r) -> uniform(3e38, r)),
          small("uniform +-1e-20", (n, c, i, r) -> uniform(1e-20, r)),
          small("uniform +-1e-40, subnormal", (n, c, i, r) -> uniform(1e-40, r)),
          small("constant 3.7", (n, c, i, r) -> 3.7),
          small("constant 1e7 / 3", (n, c, i, r) -> 1e7 / 3),
          small(
              "one of 1e8 among N(0, 1)",
              (n, c, i, r) -> n == 0 && i == 0 ? 1e8 : r.nextGaussian()),
          small(
              "an image about 1e6, the others N(0, 1)",
              (n, c, i, r) -> (n == 0 ? 1e6 : 0) + r.nextGaussian()),
          special("a NaN in one channel", Double.NaN),
          special("an Inf in one channel", Double.POSITIVE_INFINITY));

  private static HardInput small(String name, Generator values) {
    return new HardInput(name, 8, CHANNELS, 28, values, -1);
  }

  private static HardInput large(String name, Generator values) {
    return new HardInput(name, 32, CHANNELS, 112, values, -1);
  }

  private static HardInput special(String name, double value) {
    Generator values = (n, c, i, r) -> c == SPECIAL && n == 1 && i == 5 ? value : r.nextGaussian();
    return new HardInput(name, 8, CHANNELS, 28, values, SPECIAL);
  }

  private static double uniform(double most, SplittableRandom r) {
    return (2 * r.nextDouble() - 1) * most;
  }

  int valuesPerChannel() {
    return images * size * size;
  }

  /** As {@link NormCase#parse} takes it. */
  String shape(String layout) {
    return layout.equals("NCHW")
        ? "NCHW:" + images + "x" + channels + "x" + size + "x" + size
        : "NHWC:" + images + "x" + size + "x" + size + "x" + channels;
  }

  /** Where a place lies in memory. */
  int index(String layout, int n, int c, int i) {
    int plane = size * size;
    return layout.equals("NCHW") ? (n * channels + c) * plane + i : (n * plane + i) * channels + c;
  }

  /** The same values in every layout. */
  float[] fill(String layout) {
    float[] x = new float[images * channels * size * size];
    SplittableRandom random = new SplittableRandom(SEED);
    for (int n = 0; n < images; n++) {
      for (int c = 0; c < channels; c++) {
        for (int i = 0; i < size * size; i++) {
          x[index(layout, n, c, i)] = (float) values.at(n, c, i, random);
        }
      }
    }
    return x;
  }

  /** These values for every library, the running statistics being those of the batch. */
  NormData data(NormCase c) {
    float[] x = fill(c.layout());
    NormData data =
        NormData.withInput(
            c, (from, to, n) -> System.arraycopy(x, Math.toIntExact(from), to, 0, n));
    for (int k = 0; k < channels; k++) {
      double[] statistics = statistics(x, c.layout(), k);
      data.mean()[k] = (float) statistics[0];
      data.variance()[k] = (float) statistics[1];
    }
    return data;
  }

  /** Mean and biased variance of a channel. */
  private double[] statistics(float[] x, String layout, int c) {
    double count = valuesPerChannel();
    double mean = 0;
    for (int n = 0; n < images; n++) {
      for (int i = 0; i < size * size; i++) {
        mean += x[index(layout, n, c, i)] / count;
      }
    }
    double squares = 0;
    double rest = 0;
    for (int n = 0; n < images; n++) {
      for (int i = 0; i < size * size; i++) {
        double d = x[index(layout, n, c, i)] - mean;
        squares += d * d;
        rest += d;
      }
    }
    // The rounding error of the mean is corrected, in the mean and in the sum of squares.
    return new double[] {mean + rest / count, (squares - rest * rest / count) / count};
  }

  @Override
  public String toString() {
    return name + "; " + valuesPerChannel() + " a channel";
  }

  /** y, or dx where dy is given, in F64 from the very values that the libraries get. */
  double[] expected(NormCase norm, NormData data, float[] dy) {
    float[] x = fill(norm.layout());
    double[] out = new double[x.length];
    int plane = size * size;
    double count = valuesPerChannel();
    for (int c = 0; c < channels; c++) {
      double[] statistics =
          norm.operation().isInference()
              ? new double[] {data.mean()[c], data.variance()[c]}
              : statistics(x, norm.layout(), c);
      double mean = statistics[0];
      double inv = 1 / Math.sqrt(statistics[1] + NormCase.EPS);
      double sum = 0;
      double sumXhat = 0;
      for (int n = 0; dy != null && n < images; n++) {
        for (int i = 0; i < plane; i++) {
          int k = index(norm.layout(), n, c, i);
          sum += dy[k];
          sumXhat += dy[k] * (x[k] - mean) * inv;
        }
      }
      for (int n = 0; n < images; n++) {
        for (int i = 0; i < plane; i++) {
          int k = index(norm.layout(), n, c, i);
          double xhat = (x[k] - mean) * inv;
          out[k] =
              dy == null
                  ? data.gamma()[c] * xhat + data.beta()[c]
                  : data.gamma()[c] * inv * (dy[k] - sum / count - xhat * sumXhat / count);
        }
      }
    }
    return out;
  }

  /** Largest error of all channels but the special one. */
  String error(NormCase norm, float[] result, double[] expected) {
    double worst = 0;
    int lost = 0;
    int plane = size * size;
    for (int c = 0; c < channels; c++) {
      if (c == special) {
        continue;
      }
      double largest = 0;
      double channel = 0;
      for (int n = 0; n < images; n++) {
        for (int i = 0; i < plane; i++) {
          int k = index(norm.layout(), n, c, i);
          double e = Math.abs(result[k] - expected[k]);
          lost += Float.isFinite(result[k]) ? 0 : 1;
          largest = Math.max(largest, Math.abs(expected[k]));
          channel =
              Math.max(
                  channel, norm.operation().isBackward() ? e : e / (1 + Math.abs(expected[k])));
        }
      }
      // Gradients have the scale of 1 / deviation: beside the largest of their channel.
      worst =
          Math.max(
              worst, norm.operation().isBackward() && largest > 0 ? channel / largest : channel);
    }
    if (lost > 0) {
      return "NaN";
    }
    if (special >= 0 && finite(norm, result)) {
      return "hidden";
    }
    return worst == 0 ? "exact" : String.format(java.util.Locale.ROOT, "%.0e", worst);
  }

  /** Whether the special channel shows nothing of what came in. */
  private boolean finite(NormCase norm, float[] result) {
    for (int n = 0; n < images; n++) {
      for (int i = 0; i < size * size; i++) {
        if (!Float.isFinite(result[index(norm.layout(), n, special, i)])) {
          return false;
        }
      }
    }
    return true;
  }

  /** A plain array of the upstream gradient. */
  static float[] array(NormData.Values values, NormCase c) {
    float[] all = new float[Math.toIntExact(c.elements())];
    values.fill(0, all, all.length);
    return all;
  }
}
