package org.fusednorm.cpu;

import org.fusednorm.Nonlinearity;

/**
 * Loops over arrays in the form that the JIT compiler vectorizes: every access at the loop's own
 * index, no branch, no carried sum. Math.max is relu to the bit: NaN stays, -0 becomes 0.
 */
final class Lanes {
  private Lanes() {}

  /** sum += v - k and sum2 += (v - k)^2, lane by lane. */
  static void moments(float[] v, float k, float[] sum, float[] sum2, int n) {
    for (int i = 0; i < n; i++) {
      float d = v[i] - k;
      sum[i] += d;
      sum2[i] += d * d;
    }
  }

  static void moments(float[] v, float[] k, float[] sum, float[] sum2, int n) {
    for (int i = 0; i < n; i++) {
      float d = v[i] - k[i];
      sum[i] += d;
      sum2[i] += d * d;
    }
  }

  /** v = (v - c) a + b. */
  static void affine(float[] v, float c, float a, float b, int n) {
    for (int i = 0; i < n; i++) {
      v[i] = (v[i] - c) * a + b;
    }
  }

  static void affine(float[] v, float[] c, float[] a, float[] b, int n) {
    for (int i = 0; i < n; i++) {
      v[i] = (v[i] - c[i]) * a[i] + b[i];
    }
  }

  /** The same with one rounding at the end, as vectors with fused multiply-add have it. */
  static void affineFused(float[] v, float c, float a, float b, int n) {
    for (int i = 0; i < n; i++) {
      v[i] = (float) ((double) (v[i] - c) * a + b);
    }
  }

  static void affineInDouble(float[] v, double c, double a, double b, int n) {
    for (int i = 0; i < n; i++) {
      v[i] = (float) ((v[i] - c) * a + b);
    }
  }

  static void add(float[] v, float[] w, int n) {
    for (int i = 0; i < n; i++) {
      v[i] += w[i];
    }
  }

  /** Adds {@code rows} rows of n numbers, one after another. */
  static void addRows(float[] v, float[] w, int rows, int n) {
    for (int at = 0; at < rows * n; at += n) {
      for (int i = 0; i < n; i++) {
        v[i] += w[at + i];
      }
    }
  }

  static void relu(float[] v, int n) {
    for (int i = 0; i < n; i++) {
      v[i] = Math.max(v[i], 0f);
    }
  }

  /** sum += g and sum2 += g (x - c). */
  static void gradientSums(float[] g, float[] x, float c, float[] sum, float[] sum2, int n) {
    for (int i = 0; i < n; i++) {
      sum[i] += g[i];
      sum2[i] += g[i] * (x[i] - c);
    }
  }

  static void gradientSums(float[] g, float[] x, float[] c, float[] sum, float[] sum2, int n) {
    for (int i = 0; i < n; i++) {
      sum[i] += g[i];
      sum2[i] += g[i] * (x[i] - c[i]);
    }
  }

  /** x = g a + (x - c) p + q. */
  static void gradient(float[] g, float[] x, float c, float a, float p, float q, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = g[i] * a + (x[i] - c) * p + q;
    }
  }

  static void gradient(float[] g, float[] x, float[] c, float[] a, float[] p, float[] q, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = g[i] * a[i] + (x[i] - c[i]) * p[i] + q[i];
    }
  }

  static void gradientInDouble(
      float[] g, float[] x, double c, double a, double p, double q, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = (float) (g[i] * a + (x[i] - c) * p + q);
    }
  }

  /** x = g a. */
  static void scale(float[] g, float a, float[] x, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = g[i] * a;
    }
  }

  static void scale(float[] g, float[] a, float[] x, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = g[i] * a[i];
    }
  }

  /** g = 0 where !(v <= 0) does not hold, without a branch, which random signs would mispredict. */
  static void gate(float[] g, float[] v, int n) {
    for (int i = 0; i < n; i++) {
      int w = Float.floatToRawIntBits(Math.max(v[i], 0f));
      g[i] = Float.intBitsToFloat(Float.floatToRawIntBits(g[i]) & ((w | -w) >> 31));
    }
  }

  /** Packs !(v <= 0) into bits, eight to a byte, and returns the number of bytes. */
  static int pack(float[] v, int n, byte[] bits) {
    for (int i = 0; i < n; i += 8) {
      int m = 0;
      for (int j = i, end = Math.min(n, i + 8); j < end; j++) {
        int w = Float.floatToRawIntBits(Math.max(v[j], 0f));
        m |= ((w | -w) >>> 31) << (j - i);
      }
      bits[i >> 3] = (byte) m;
    }
    return (n + 7) >> 3;
  }

  /** g = 0 where the bit is not set. */
  static void gate(float[] g, byte[] bits, int n) {
    for (int i = 0; i < n; i++) {
      int open = -((bits[i >> 3] >> (i & 7)) & 1);
      g[i] = Float.intBitsToFloat(Float.floatToRawIntBits(g[i]) & open);
    }
  }

  /** v = w f'(.), from v = f(.). */
  static void activationGradient(Nonlinearity f, float[] v, float[] w, int n) {
    switch (f) {
      case SIGMOID -> {
        for (int i = 0; i < n; i++) {
          v[i] = w[i] * (v[i] * (1 - v[i]));
        }
      }
      case TANH -> {
        for (int i = 0; i < n; i++) {
          v[i] = w[i] * (1 - v[i] * v[i]);
        }
      }
      case RELU -> {
        gate(w, v, n);
        System.arraycopy(w, 0, v, 0, n);
      }
      default -> throw new AssertionError(f);
    }
  }

  /** g += decay v + kept old. */
  static void velocity(float[] g, float[] v, float[] old, float kept, float decay, int n) {
    for (int i = 0; i < n; i++) {
      g[i] = kept * old[i] + (g[i] + decay * v[i]);
    }
  }

  /** g = v - rate (g + decay v). */
  static void descend(float[] g, float[] v, float rate, float decay, int n) {
    for (int i = 0; i < n; i++) {
      g[i] = v[i] - rate * (g[i] + decay * v[i]);
    }
  }

  /** The sum of squares in double. */
  static double squares(float[] v, int n) {
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    int i = 0;
    for (; i + 3 < n; i += 4) {
      s0 += (double) v[i] * v[i];
      s1 += (double) v[i + 1] * v[i + 1];
      s2 += (double) v[i + 2] * v[i + 2];
      s3 += (double) v[i + 3] * v[i + 3];
    }
    for (; i < n; i++) {
      s0 += (double) v[i] * v[i];
    }
    return (s0 + s1) + (s2 + s3);
  }

  /** The sum of {@code v[0..n)} in double. */
  static double sum(float[] v, int n) {
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    int i = 0;
    for (; i + 3 < n; i += 4) {
      s0 += v[i];
      s1 += v[i + 1];
      s2 += v[i + 2];
      s3 += v[i + 3];
    }
    for (; i < n; i++) {
      s0 += v[i];
    }
    return (s0 + s1) + (s2 + s3);
  }
}
