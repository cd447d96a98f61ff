package org.fusednorm.reference;

import static org.fusednorm.reference.Values.get;
import static org.fusednorm.reference.Values.put;

import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;

/** The verbs of {@link org.fusednorm.MathOps}. */
final class MathLoops {
  private MathLoops() {}

  private static long rows(Tensor t) {
    return t.shape().batch();
  }

  private static long columns(Tensor t) {
    return rows(t) == 0 ? t.shape().withBatch(1).elements() : t.shape().elements() / rows(t);
  }

  /** Stores {@code v}, or adds it to element {@code i}, rounding once. */
  private static void write(Tensor t, long i, double v, Write w) {
    put(t, i, w == Write.ADD ? get(t, i) + v : v);
  }

  static void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    long m = rows(c);
    long n = columns(c);
    long depth = transposeA ? rows(a) : columns(a);
    for (long i = 0; i < m; i++) {
      for (long j = 0; j < n; j++) {
        double sum = 0;
        for (long k = 0; k < depth; k++) {
          double left = get(a, transposeA ? k * m + i : i * depth + k);
          double right = get(b, transposeB ? j * depth + k : k * n + j);
          sum += left * right;
        }
        write(c, i * n + j, sum, w);
      }
    }
  }

  static void addBias(Tensor x, Tensor bias, Tensor y) {
    long columns = columns(x);
    for (long i = 0; i < rows(x); i++) {
      for (long j = 0; j < columns; j++) {
        put(y, i * columns + j, get(x, i * columns + j) + get(bias, j));
      }
    }
  }

  static void biasGradient(Tensor dy, Tensor dbias, Write w) {
    long columns = columns(dy);
    for (long j = 0; j < columns; j++) {
      double sum = 0;
      for (long i = 0; i < rows(dy); i++) {
        sum += get(dy, i * columns + j);
      }
      write(dbias, j, sum, w);
    }
  }

  static void activate(Nonlinearity f, Tensor x, Tensor y) {
    for (long i = 0; i < x.shape().elements(); i++) {
      double v = get(x, i);
      put(
          y,
          i,
          switch (f) {
            case SIGMOID -> 1 / (1 + Math.exp(-v));
            case TANH -> Math.tanh(v);
            case RELU -> v <= 0 ? 0 : v;
          });
    }
  }

  static void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    for (long i = 0; i < y.shape().elements(); i++) {
      double v = get(y, i);
      double g = get(dy, i);
      put(
          dx,
          i,
          switch (f) {
            case SIGMOID -> g * (v * (1 - v));
            case TANH -> g * (1 - v * v);
            case RELU -> v <= 0 ? 0 : g;
          });
    }
  }

  static void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    checkLabels(labels, logits);
    long rows = rows(logits);
    long columns = columns(logits);
    double total = 0;
    for (long i = 0; i < rows; i++) {
      long start = i * columns;
      long target = start + Values.getLong(labels, i);
      double max = Double.NEGATIVE_INFINITY;
      for (long j = start; j < start + columns; j++) {
        max = Math.max(max, get(logits, j));
      }
      double sum = 0;
      for (long j = start; j < start + columns; j++) {
        sum += Math.exp(get(logits, j) - max);
      }
      total += Math.log(sum) - (get(logits, target) - max);
      if (dlogits != null) {
        for (long j = start; j < start + columns; j++) {
          double p = Math.exp(get(logits, j) - max) / sum;
          put(dlogits, j, (p - (j == target ? 1 : 0)) / rows);
        }
      }
    }
    put(loss, 0, rows == 0 ? 0 : total / rows);
  }

  /** A comparison with NaN is false, so a row that holds one is not right whatever its label. */
  static void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    checkLabels(labels, logits);
    long columns = columns(logits);
    long right = w == Write.ADD ? Values.getLong(count, 0) : 0;
    for (long i = 0; i < rows(logits); i++) {
      long label = Values.getLong(labels, i);
      double chosen = get(logits, i * columns + label);
      boolean largest = true;
      for (long j = 0; j < columns && largest; j++) {
        double other = get(logits, i * columns + j);
        largest = j < label ? chosen > other : chosen >= other;
      }
      right += largest ? 1 : 0;
    }
    Values.putLong(count, 0, right);
  }

  private static void checkLabels(Tensor labels, Tensor logits) {
    long columns = columns(logits);
    for (long i = 0; i < labels.shape().elements(); i++) {
      long label = Values.getLong(labels, i);
      if (label < 0 || label >= columns) {
        throw new IllegalArgumentException(
            "label " + label + " in row " + i + " is not in 0.." + (columns - 1));
      }
    }
  }

  static void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    double rate = get(learningRate.tensor(), 0);
    double kept = momentum == null ? 0 : get(momentum.tensor(), 0);
    double decay = weightDecay == null ? 0 : get(weightDecay.tensor(), 0);
    for (long i = 0; i < value.shape().elements(); i++) {
      double v = get(value, i);
      double step = get(gradient, i) + decay * v;
      if (velocity != null) {
        step += kept * get(velocity, i);
        put(velocity, i, step);
      }
      put(value, i, v - rate * step);
    }
  }

  static void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    long columns = columns(out);
    long entries = rows(table);
    for (long i = 0; i < rows.shape().elements(); i++) {
      long row = Values.getLong(rows, i);
      if (row < 0 || row >= entries) {
        throw new IllegalArgumentException(
            "row " + row + " at position " + i + " is not in 0.." + (entries - 1));
      }
    }
    for (long i = 0; i < rows.shape().elements(); i++) {
      long row = Values.getLong(rows, i);
      if (table.dtype() == out.dtype()) {
        long bytes = columns * table.dtype().bytes();
        ((HostStorage) table.storage())
            .copy(
                table.byteOffset() + row * bytes,
                (HostStorage) out.storage(),
                out.byteOffset() + i * bytes,
                bytes);
      } else {
        for (long j = 0; j < columns; j++) {
          put(out, i * columns + j, scale * get(table, row * columns + j));
        }
      }
    }
  }

  static void squaredNorm(Tensor x, Tensor out, Write w) {
    double sum = 0;
    for (long i = 0; i < x.shape().elements(); i++) {
      double v = get(x, i);
      sum += v * v;
    }
    write(out, 0, sum, w);
  }
}
