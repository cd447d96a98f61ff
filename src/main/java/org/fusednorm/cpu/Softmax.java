package org.fusednorm.cpu;

import org.fusednorm.DType;

/** Cross-entropy of a row of logits, in F64. */
final class Softmax {
  private Softmax() {}

  /** -log softmax(row)[label]; where {@code d} is present, its row gets the gradient by rows. */
  static double row(Data logits, Data d, long row, long columns, long label, long rows, Scratch s) {
    long start = row * columns;
    double max = Double.NEGATIVE_INFINITY;
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = load(logits, start, j, columns, s);
      for (int i = 0; i < n; i++) {
        max = Math.max(max, s.xd[i]);
      }
    }
    double sum = 0;
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = columns > Scratch.CHUNK ? load(logits, start, j, columns, s) : (int) columns;
      for (int i = 0; i < n; i++) {
        s.dyd[i] = Functions.exp(s.xd[i] - max);
        sum += s.dyd[i];
      }
    }
    double loss = Math.log(sum) - (logits.get(start + label) - max);
    if (!d.isPresent()) {
      return loss;
    }
    double each = 1.0 / (sum * rows);
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = (int) columns;
      if (columns > Scratch.CHUNK) {
        n = load(logits, start, j, columns, s);
        for (int i = 0; i < n; i++) {
          s.dyd[i] = Functions.exp(s.xd[i] - max);
        }
      }
      for (int i = 0; i < n; i++) {
        s.dyd[i] *= each;
      }
      if (label >= j && label < j + n) {
        s.dyd[(int) (label - j)] -= 1.0 / rows;
      }
      store(d, start + j, n, s);
    }
    return loss;
  }

  private static int load(Data logits, long start, long j, long columns, Scratch s) {
    int n = (int) Math.min(Scratch.CHUNK, columns - j);
    if (logits.type == DType.F64) {
      logits.get(start + j, s.xd, 0, n);
    } else {
      logits.get(start + j, s.x, 0, n, null);
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
