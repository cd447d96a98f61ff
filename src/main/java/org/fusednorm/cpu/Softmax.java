package org.fusednorm.cpu;

import org.fusednorm.DType;

/** Cross-entropy of rows of logits, in F64. */
final class Softmax {
  private Softmax() {}

  /**
   * The sum of -log softmax(row)[label] over some of {@code rows} rows; where {@code d} is present,
   * its rows get the gradient by theirs.
   */
  static double rows(
      Data logits, Data labels, Data d, long from, long to, long rows, long columns, Scratch s) {
    double loss = 0;
    if (columns > Scratch.CHUNK) {
      for (long r = from; r < to; r++) {
        loss += wide(logits, d, r * columns, columns, MathCall.label(labels, r), rows, s);
      }
      return loss;
    }
    int width = (int) columns;
    int together = Scratch.CHUNK / width;
    for (long r = from; r < to; r += together) {
      int n = (int) Math.min(together, to - r);
      loss += narrow(logits, labels, d, r, n, rows, width, s);
    }
    return loss;
  }

  /** Rows that fit into a chunk together: one loop of exponentials for all of them. */
  private static double narrow(
      Data logits, Data labels, Data d, long from, int n, long rows, int width, Scratch s) {
    double[] t = s.xd;
    double[] u = s.dyd;
    load(logits, from * width, n * width, s);
    double loss = 0;
    for (int r = 0, start = 0; r < n; r++, start += width) {
      double max = max(Double.NEGATIVE_INFINITY, t, start, start + width);
      for (int i = start; i < start + width; i++) {
        t[i] -= max;
      }
      loss -= t[start + (int) MathCall.label(labels, from + r)];
    }
    exponentials(t, u, s.otherd, n * width);
    double each = 1.0 / rows;
    for (int r = 0, start = 0; r < n; r++, start += width) {
      double sum = 0;
      for (int i = start; i < start + width; i++) {
        sum += u[i];
      }
      loss += Math.log(sum);
      double scale = each / sum;
      for (int i = start; i < start + width; i++) {
        u[i] *= scale;
      }
      u[start + (int) MathCall.label(labels, from + r)] -= each;
    }
    if (d.isPresent()) {
      store(d, from * width, n * width, s);
    }
    return loss;
  }

  private static double wide(
      Data logits, Data d, long start, long columns, long label, long rows, Scratch s) {
    double max = Double.NEGATIVE_INFINITY;
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = load(logits, start + j, columns - j, s);
      max = max(max, s.xd, 0, n);
    }
    double sum = 0;
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = exponentials(logits, start + j, columns - j, max, s);
      for (int i = 0; i < n; i++) {
        sum += s.dyd[i];
      }
    }
    double loss = Math.log(sum) - (logits.get(start + label) - max);
    if (!d.isPresent()) {
      return loss;
    }
    double each = 1.0 / rows;
    double scale = each / sum;
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = exponentials(logits, start + j, columns - j, max, s);
      for (int i = 0; i < n; i++) {
        s.dyd[i] *= scale;
      }
      if (label >= j && label < j + n) {
        s.dyd[(int) (label - j)] -= each;
      }
      store(d, start + j, n, s);
    }
    return loss;
  }

  private static double max(double max, double[] v, int from, int to) {
    for (int i = from; i < to; i++) {
      max = Math.max(max, v[i]);
    }
    return max;
  }

  private static int exponentials(Data logits, long e, long left, double max, Scratch s) {
    int n = load(logits, e, left, s);
    for (int i = 0; i < n; i++) {
      s.xd[i] -= max;
    }
    exponentials(s.xd, s.dyd, s.otherd, n);
    return n;
  }

  /**
   * {@code u = exp(t)} of numbers that are not positive, to the last bits of F64; 0 below -700.
   * exp(t) = 2^k exp(r), k = round(t / ln 2), exp(r) by its Taylor series, in a loop without
   * branches, which is vectorized.
   */
  static void exponentials(double[] t, double[] u, double[] k, int length) {
    for (int i = 0; i < length; i++) {
      double v = Math.max(t[i], -701);
      double n = (v * 1.4426950408889634 + 0x1.8p52) - 0x1.8p52;
      double r = (v - n * 0x1.62e42ffp-1) + n * 0x1.718432a1b0e26p-35;
      double p = 1.0 / 479001600 + r * (1.0 / 6227020800.0);
      p = 1.0 / 3628800 + r * (1.0 / 39916800 + r * p);
      p = 1.0 / 40320 + r * (1.0 / 362880 + r * p);
      p = 1.0 / 720 + r * (1.0 / 5040 + r * p);
      p = 1.0 / 24 + r * (1.0 / 120 + r * p);
      p = 0.5 + r * (1.0 / 6 + r * p);
      u[i] = 1 + (r + r * r * p);
      k[i] = n;
    }
    for (int i = 0; i < length; i++) {
      double power = Double.longBitsToDouble((long) ((int) k[i] + 1023) << 52);
      u[i] = t[i] < -700 ? 0 : u[i] * power;
    }
  }

  private static int load(Data logits, long e, long wanted, Scratch s) {
    int n = (int) Math.min(Scratch.CHUNK, wanted);
    if (logits.type == DType.F64) {
      logits.get(e, s.xd, 0, n);
    } else {
      logits.get(e, s.x, 0, n, null);
      for (int i = 0; i < n; i++) {
        s.xd[i] = s.x[i];
      }
    }
    return n;
  }

  private static void store(Data d, long e, int n, Scratch s) {
    if (d.type == DType.F64) {
      d.put(e, s.dyd, n);
    } else {
      for (int i = 0; i < n; i++) {
        s.dy[i] = (float) s.dyd[i];
      }
      d.put(e, s.dy, n, null);
    }
  }
}
