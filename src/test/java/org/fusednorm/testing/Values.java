package org.fusednorm.testing;

import java.util.SplittableRandom;
import org.fusednorm.DType;
import org.fusednorm.Half;
import org.fusednorm.Memory;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/** Test data from a seed, representable in the type that it is for, and its comparison. */
public final class Values {
  private Values() {}

  /** {@code n} normal values of this mean and deviation, rounded to {@code t}. */
  public static double[] normal(DType t, long seed, int n, double mean, double std) {
    SplittableRandom r = new SplittableRandom(seed);
    double[] v = new double[n];
    for (int i = 0; i < n; i++) {
      double u = 1 - r.nextDouble();
      double z = Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * r.nextDouble());
      v[i] = round(t, mean + std * z);
    }
    return v;
  }

  /** {@code v} as a tensor of type {@code t} holds it. */
  public static double round(DType t, double v) {
    return switch (t) {
      case F64 -> v;
      case F32 -> (float) v;
      case F16 -> Half.fromF16(Half.toF16(v));
      case BF16 -> Half.fromBf16(Half.toBf16(v));
      default -> throw new IllegalArgumentException("no floating type: " + t);
    };
  }

  /** A tensor of these values. */
  public static Tensor tensor(Memory m, Shape s, DType t, double... v) {
    return m.empty(s, t).copyFrom(v);
  }

  /**
   * Fails unless every |actual - expected| / (1 + |expected|) is at most {@code threshold}; NaN
   * must meet NaN, Inf the same Inf. Says the largest and the RMS error and where.
   */
  public static void assertClose(
      String what, double[] expected, double[] actual, double threshold) {
    if (expected.length != actual.length) {
      throw new AssertionError(what + ": " + actual.length + " values, not " + expected.length);
    }
    double worst = 0;
    double squares = 0;
    int at = -1;
    for (int i = 0; i < expected.length; i++) {
      double e = Math.abs(actual[i] - expected[i]) / (1 + Math.abs(expected[i]));
      if (Double.compare(expected[i], actual[i]) == 0) {
        e = 0;
      } else if (!(e <= Double.MAX_VALUE)) {
        e = Double.POSITIVE_INFINITY;
      }
      squares += e * e;
      if (e > worst) {
        worst = e;
        at = i;
      }
    }
    if (worst > threshold) {
      throw new AssertionError(
          String.format(
              "%s: max error %.3g > %.3g at %d of %d (%s instead of %s), RMS %.3g",
              what,
              worst,
              threshold,
              at,
              expected.length,
              actual[at],
              expected[at],
              Math.sqrt(squares / expected.length)));
    }
  }

  /** Largest error of a result in {@code t} that was computed well and rounded once. */
  public static double threshold(DType t) {
    return switch (t) {
      case F64 -> 1e-12;
      case F32 -> 2e-6;
      case F16 -> 1.1e-3;
      case BF16 -> 8e-3;
      default -> throw new IllegalArgumentException("no floating type: " + t);
    };
  }
}
