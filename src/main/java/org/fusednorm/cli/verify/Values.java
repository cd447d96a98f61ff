package org.fusednorm.cli.verify;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/** Inputs and places for outputs. The same numbers in every run and for every backend. */
final class Values {
  /** What outputs hold before a verb writes them: exact in every type, and never a result. */
  private static final double UNWRITTEN = -37;

  private Values() {}

  /** Multiples of 1/64 in -2 to 2, which every floating type holds exactly. */
  static double[] coarse(long n, long seed) {
    return new SplittableRandom(seed).ints(n, -128, 129).mapToDouble(i -> i / 64.0).toArray();
  }

  /** Multiples of 1/8 in -1 to 1: sums of their products are exact in F32 in any order. */
  static double[] eighths(long n, long seed) {
    return new SplittableRandom(seed).ints(n, -8, 9).mapToDouble(i -> i / 8.0).toArray();
  }

  /** F32 values of all 24 bits in -1 to 1. */
  static double[] fine(long n, long seed) {
    return new SplittableRandom(seed).doubles(n, -1, 1).map(v -> (float) v).toArray();
  }

  /** F32 values of this mean and, about, this standard deviation. */
  static double[] around(double mean, double deviation, long n, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    double[] v = new double[Math.toIntExact(n)];
    for (int i = 0; i < v.length; i++) {
      double sum = -6;
      for (int k = 0; k < 12; k++) {
        sum += random.nextDouble();
      }
      v[i] = (float) (mean + deviation * sum);
    }
    return v;
  }

  static double[] constant(int n, double v) {
    double[] values = new double[n];
    Arrays.fill(values, v);
    return values;
  }

  /** A tensor of these values; null for null. */
  static Tensor tensor(Memory m, Shape s, DType t, double[] v) {
    return v == null ? null : m.empty(s, t).copyFrom(v);
  }

  /** A place for an output that shows whether it was written. */
  static Tensor output(Memory m, Shape s, DType t) {
    return unwritten(m.empty(s, t));
  }

  static Tensor unwritten(Tensor t) {
    return t.copyFrom(constant(Math.toIntExact(t.shape().elements()), UNWRITTEN));
  }
}
