package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** Against StrictMath, over numbers of every exponent. */
class FunctionsTest {
  private static final double LIMIT = 2.5e-7;

  private static final float[] SPECIAL = {
    0f,
    -0f,
    Float.MIN_VALUE,
    -Float.MIN_VALUE,
    Float.MIN_NORMAL,
    1e-30f,
    -1e-30f,
    1e-3f,
    -1e-3f,
    0.3465f,
    0.3466f,
    -0.3466f,
    87f,
    -87f,
    88.8f,
    -88.8f,
    -95f,
    -103f,
    -104f,
    1e30f,
    -1e30f,
    Float.MAX_VALUE,
    -Float.MAX_VALUE,
    Float.POSITIVE_INFINITY,
    Float.NEGATIVE_INFINITY,
    Float.NaN
  };

  /** Every 40,009th float bit pattern, and a fine grid where functions bend. */
  private static float[] inputs() {
    int patterns = (int) (0x1_0000_0000L / 40_009);
    float[] v = new float[patterns + 200_000 + SPECIAL.length];
    int n = 0;
    for (int i = 0; i < patterns; i++) {
      v[n++] = Float.intBitsToFloat(i * 40_009);
    }
    for (int i = 0; i < 200_000; i++) {
      v[n++] = (i - 100_000) * 1e-3f;
    }
    for (float s : SPECIAL) {
      v[n++] = s;
    }
    return v;
  }

  private static void check(float x, double expected, float actual, String f) {
    if (Double.isNaN(expected)) {
      assertTrue(Float.isNaN(actual), f + "(" + x + ") = " + actual);
      return;
    }
    // Two units in the last place where the result is subnormal.
    double allowed = Math.max(LIMIT * Math.abs(expected), 2 * Float.MIN_VALUE);
    if (!(Math.abs(actual - expected) <= allowed)) {
      assertEquals(expected, actual, allowed, f + "(" + x + ")");
    }
  }

  @Test
  void sigmoid() {
    float[] x = inputs();
    float[] y = x.clone();
    Functions.sigmoid(y, new float[x.length], new float[x.length], x.length);
    for (int i = 0; i < x.length; i++) {
      check(x[i], 1 / (1 + StrictMath.exp(-(double) x[i])), y[i], "sigmoid");
    }
  }

  @Test
  void tanh() {
    float[] x = inputs();
    float[] y = x.clone();
    Functions.tanh(y, new float[x.length], new float[x.length], x.length);
    for (int i = 0; i < x.length; i++) {
      check(x[i], StrictMath.tanh(x[i]), y[i], "tanh");
    }
    float[] zero = {-0f};
    Functions.tanh(zero, new float[1], new float[1], 1);
    assertEquals(Float.floatToRawIntBits(-0f), Float.floatToRawIntBits(zero[0]));
  }

  @Test
  void exponentials() {
    double[] t = new double[51_003];
    for (int i = 0; i < t.length; i++) {
      t[i] = -0.0137 * i;
    }
    t[t.length - 3] = -701;
    t[t.length - 2] = Double.NEGATIVE_INFINITY;
    t[t.length - 1] = Double.NaN;
    double[] u = new double[t.length];
    Softmax.exponentials(t, u, new double[t.length], t.length);
    for (int i = 0; i < t.length - 3; i++) {
      double expected = StrictMath.exp(t[i]);
      assertEquals(expected, u[i], 4e-16 * expected, "exp(" + t[i] + ")");
    }
    assertEquals(0, u[t.length - 3]);
    assertEquals(0, u[t.length - 2]);
    assertTrue(Double.isNaN(u[t.length - 1]));
  }

  @Test
  void doubles() {
    double[] x = {0, 1, -1, 30, -30, 700, -700, 1e300, -1e300, Double.POSITIVE_INFINITY};
    double[] y = x.clone();
    Functions.sigmoid(y, y.length);
    for (int i = 0; i < x.length; i++) {
      double expected = 1 / (1 + StrictMath.exp(-x[i]));
      assertEquals(expected, y[i], 4e-16 * expected, "sigmoid(" + x[i] + ")");
    }
  }
}
