package org.fusednorm.cli.verify;

import org.fusednorm.DType;

/**
 * How far one kind of output may be from the truth: its errors are divided by {@code scale}, and
 * what is left may be at most {@link #threshold}.
 *
 * @param arithmetic what computing in F32 may cost, for data of F32 and the 16-bit types
 * @param arithmeticF64 what computing in F64 may cost, for data of F64
 * @param scale what an error is relative to
 */
record Tolerance(double arithmetic, double arithmeticF64, Scale scale) {
  /** Bit for bit, after rounding to the stored type. */
  static final Tolerance ROUNDED = new Tolerance(0, 0, (i, expected) -> Math.abs(expected));

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
