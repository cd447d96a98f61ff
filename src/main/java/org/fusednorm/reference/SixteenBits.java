package org.fusednorm.reference;

/**
 * IEEE 754 binary16 and bfloat16 by what their bits mean: sign, and a whole number of units times
 * the power of two that is the unit. Scaling by powers of two is exact in binary64, so the only
 * rounding is that of {@link Math#rint}, to nearest even.
 */
final class SixteenBits {
  static final SixteenBits F16 = new SixteenBits(10);
  static final SixteenBits BF16 = new SixteenBits(7);

  private final int fractionBits;

  /** The smallest exponent of a normal number, and that of all subnormal ones. */
  private final int minExponent;

  private final int infinity;

  private SixteenBits(int fractionBits) {
    this.fractionBits = fractionBits;
    int exponentBits = 15 - fractionBits;
    minExponent = 2 - (1 << (exponentBits - 1));
    infinity = ((1 << exponentBits) - 1) << fractionBits;
  }

  double decode(short bits) {
    int magnitude = bits & 0x7fff;
    int fraction = magnitude & ((1 << fractionBits) - 1);
    int exponent = magnitude >> fractionBits;
    double value;
    if (magnitude >= infinity) {
      value = magnitude == infinity ? Double.POSITIVE_INFINITY : Double.NaN;
    } else if (exponent == 0) {
      value = Math.scalb((double) fraction, minExponent - fractionBits);
    } else {
      int units = fraction + (1 << fractionBits);
      value = Math.scalb((double) units, minExponent + exponent - 1 - fractionBits);
    }
    return bits < 0 ? -value : value;
  }

  short encode(double v) {
    int sign = Math.copySign(1, v) < 0 ? 0x8000 : 0;
    if (Double.isNaN(v)) {
      return (short) (sign | infinity | 1 << (fractionBits - 1));
    }
    if (Double.isInfinite(v)) {
      return (short) (sign | infinity);
    }
    double magnitude = Math.abs(v);
    int exponent = Math.max(Math.getExponent(magnitude), minExponent);
    int units = (int) Math.rint(Math.scalb(magnitude, fractionBits - exponent));
    // The leading unit bit of a normal number adds the 1 by which its exponent field is larger.
    int bits = ((exponent - minExponent) << fractionBits) + units;
    return (short) (sign | Math.min(bits, infinity));
  }
}
