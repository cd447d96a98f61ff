package org.fusednorm.cpu;

/**
 * Sigmoid and tanh over arrays. The F32 exponential is exp(t) = 2^n exp(r), n = round(t / ln 2) and
 * |r| <= ln 2 / 2, exp(r) by its Taylor series to r^7 (remainder under 6e-9); loops have no branch,
 * so that all of them but the scaling by 2^n are vectorized.
 */
final class Functions {
  /** Adding and subtracting it rounds a small float to an integer. */
  private static final float ROUND = 0x1.8p23f;

  private static final float PER_LN2 = 1.44269504f;

  /** ln 2 in two parts; the first has so few bits that its product with n is exact. */
  private static final float LN2_HIGH = 0.693359375f;

  private static final float LN2_LOW = -2.12194440e-4f;

  /** Below, exp rounds to 0 in F32. */
  private static final float LOWEST = -104f;

  private Functions() {}

  /** {@code u = exp(-|v|)}; {@code n} is used on the way. */
  private static void expNegative(float[] v, float[] u, float[] n, int length) {
    for (int i = 0; i < length; i++) {
      float t = Math.max(-Math.abs(v[i]), LOWEST);
      float k = (t * PER_LN2 + ROUND) - ROUND;
      u[i] = 1 + expm1((t - k * LN2_HIGH) - k * LN2_LOW);
      n[i] = k;
    }
    for (int i = 0; i < length; i++) {
      // In double, so that subnormal results are rounded once.
      u[i] = (float) (u[i] * Double.longBitsToDouble((long) ((int) n[i] + 1023) << 52));
    }
  }

  /** v = 1 / (1 + exp(-v)) = min(1, exp(v)) / (1 + exp(-|v|)), accurate where it is tiny too. */
  static void sigmoid(float[] v, float[] u, float[] n, int length) {
    expNegative(v, u, n, length);
    for (int i = 0; i < length; i++) {
      // 1 from 0 on, 0 for what is clearly negative; in between exp(v) is 1 anyway.
      float step = Math.max(0f, Math.min(1f, v[i] * 0x1p60f + 1));
      v[i] = Math.max(u[i], step) / (1 + u[i]);
    }
  }

  /**
   * v = tanh(v) = (1 - u) / (1 + u), u = exp(-2 |v|) = s (1 + e) with s a power of 2: the
   * difference is taken as (1 - s) - s e, which cancels nothing where v is small.
   */
  static void tanh(float[] v, float[] e, float[] s, int length) {
    for (int i = 0; i < length; i++) {
      float t = Math.max(-2 * Math.abs(v[i]), -80f);
      float k = (t * PER_LN2 + ROUND) - ROUND;
      e[i] = expm1((t - k * LN2_HIGH) - k * LN2_LOW);
      s[i] = k;
    }
    for (int i = 0; i < length; i++) {
      s[i] = Float.intBitsToFloat(((int) s[i] + 127) << 23);
    }
    for (int i = 0; i < length; i++) {
      // The sign, also of the smallest number and of zero.
      float sign = Math.max(-1f, Math.min(1f, v[i] * 0x1p127f * 0x1p23f));
      float part = s[i] * e[i];
      v[i] = sign * (((1 - s[i]) - part) / ((1 + s[i]) + part));
    }
  }

  /** exp(r) - 1 for |r| up to ln 2 / 2. */
  private static float expm1(float r) {
    float p = 1f / 720 + r * (1f / 5040);
    p = 1f / 24 + r * (1f / 120 + r * p);
    p = 0.5f + r * (1f / 6 + r * p);
    return r + r * r * p;
  }

  static void sigmoid(double[] v, int length) {
    for (int i = 0; i < length; i++) {
      double u = Math.exp(-Math.abs(v[i]));
      v[i] = (v[i] < 0 ? u : 1) / (1 + u);
    }
  }

  static void tanh(double[] v, int length) {
    for (int i = 0; i < length; i++) {
      v[i] = Math.tanh(v[i]);
    }
  }

  static void relu(double[] v, int length) {
    for (int i = 0; i < length; i++) {
      v[i] = Math.max(v[i], 0.0);
    }
  }
}
