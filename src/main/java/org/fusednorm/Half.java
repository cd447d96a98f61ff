package org.fusednorm;

/**
 * Conversion between the 16-bit types and binary32 or binary64, rounding to nearest even, with
 * subnormals, infinities and NaN (which stays NaN). Float.float16ToFloat exists from Java 20 on
 * only.
 */
public final class Half {
  private static final int F32_INFINITY = 0x7f800000;

  /** 2^-24, the smallest subnormal of binary16. */
  private static final float F16_TINY = 0x1p-24f;

  private Half() {}

  /** The value of an IEEE 754 binary16; exact. */
  public static float fromF16(short bits) {
    int magnitude = bits & 0x7fff;
    int sign = (bits & 0x8000) << 16;
    if (magnitude < 0x0400) {
      return Float.intBitsToFloat(sign | Float.floatToRawIntBits(magnitude * F16_TINY));
    }
    int exponentShift = magnitude < 0x7c00 ? 112 << 23 : 224 << 23;
    return Float.intBitsToFloat(sign | ((magnitude << 13) + exponentShift));
  }

  /** The nearest IEEE 754 binary16. */
  public static short toF16(float v) {
    int bits = Float.floatToRawIntBits(v);
    int sign = (bits >>> 16) & 0x8000;
    int magnitude = bits & 0x7fffffff;
    if (magnitude > F32_INFINITY) {
      return (short) (sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff));
    }
    if (magnitude >= 0x477ff000) {
      return (short) (sign | 0x7c00);
    }
    if (magnitude < 0x38800000) {
      // Adding 0.5 leaves the subnormal's bits at the end of the mantissa, rounded to nearest even.
      int rounded = Float.floatToRawIntBits(Float.intBitsToFloat(magnitude) + 0.5f);
      return (short) (sign | (rounded - 0x3f000000));
    }
    int rebiased = magnitude - (112 << 23);
    return (short) (sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13));
  }

  /** The nearest IEEE 754 binary16, rounded once. */
  public static short toF16(double v) {
    return toF16(toOdd(v));
  }

  /** The value of a bfloat16; exact. */
  public static float fromBf16(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** The nearest bfloat16. */
  public static short toBf16(float v) {
    int bits = Float.floatToRawIntBits(v);
    if ((bits & 0x7fffffff) > F32_INFINITY) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  /** The nearest bfloat16, rounded once. */
  public static short toBf16(double v) {
    return toBf16(toOdd(v));
  }

  /**
   * Rounds to float so that a second rounding to fewer bits gives what one rounding would: inexact
   * results get an odd last bit, hence are never a tie by accident.
   */
  private static float toOdd(double v) {
    float f = (float) v;
    if (f == v || Float.isNaN(f)) {
      return f;
    }
    int bits = Float.floatToRawIntBits(f);
    if ((bits & 1) == 1) {
      return f;
    }
    boolean away = Math.abs((double) f) > Math.abs(v);
    return Float.intBitsToFloat(away ? bits - 1 : bits + 1);
  }
}
