package org.fusednorm.cli.verify;

import java.util.function.IntPredicate;
import org.fusednorm.DType;

/**
 * How far one kind of output may be from the truth: its errors are divided by {@code scale}, and
 * what is left may be at most {@link #threshold}.
 *
 * @param arithmetic what computing in F32 may cost, for data of F32 and the 16-bit types
 * @param arithmeticF64 what computing in F64 may cost, for data of F64
 * @param scale what an error is relative to
 * @param open at which index any NaN or infinity is as good as another
 */
record Tolerance(double arithmetic, double arithmeticF64, Scale scale, IntPredicate open) {
  /** Bit for bit, after rounding to the stored type. */
  static final Tolerance ROUNDED = new Tolerance(0, 0, (i, expected) -> Math.abs(expected));

  Tolerance(double arithmetic, double arithmeticF64, Scale scale) {
    this(arithmetic, arithmeticF64, scale, i -> false);
  }

  /** The same, with these places open. */
  Tolerance open(IntPredicate places) {
    return new Tolerance(arithmetic, arithmeticF64, scale, places);
  }

  /** How wrong {@code actual} is: infinitely for another NaN or infinity than there must be. */
  double error(int index, double expected, double actual) {
    if (expected == actual || Double.isNaN(expected) && Double.isNaN(actual)) {
      return 0;
    }
    if (!Double.isFinite(expected) && !Double.isFinite(actual) && open.test(index)) {
      return 0;
    }
    double e = Math.abs(actual - expected) / scale.at(index, expected);
    return Double.isFinite(e) ? e : Double.POSITIVE_INFINITY;
  }

  /** The magnitude that the error of a value is relative to. */
  @FunctionalInterface
  interface Scale {
    double at(int index, double expected);
  }

  /** Errors relative to 1 + |expected|: values of about 1, among them some near 0. */
  static Tolerance ofValues(double arithmetic, double arithmeticF64) {
    return new Tolerance(arithmetic, arithmeticF64, (i, expected) -> 1 + Math.abs(expected));
  }

  /**
   * What is allowed in all.
   *
   * @param data type of the data that the verb worked on
   * @param stored type of the output, into which it was rounded once
   */
  double threshold(DType data, DType stored) {
    return (data == DType.F64 ? arithmeticF64 : arithmetic) + roundoff(stored);
  }

  private static double roundoff(DType stored) {
    return switch (stored) {
      case F32 -> 0x1p-24;
      case F16 -> 0x1p-11;
      case BF16 -> 0x1p-8;
      case F64 -> 0x1p-53;
      case U8, I32, I64 -> 0;
    };
  }
}
