package org.fusednorm.cpu;

import java.util.Arrays;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.Isa;

/**
 * One of the verbs of {@link org.fusednorm.MathOps} at a time, matrix products aside: splits it by
 * its shape and merges sums in a fixed order. One per Java thread, kept with its arrays.
 */
final class MathCall extends Job {
  /** Most elements per item, but for a long row; a verb of one item stays in the calling thread. */
  static final int ITEM = 4_096;

  /** Numbers in a cache line and in the longest vectors: items begin at multiples. */
  private static final int LINE = 16;

  private enum Verb {
    ADD_BIAS(0.07),
    ACTIVATE(0.23),
    ACTIVATION_GRADIENT(0.07),
    SQUARED_NORM(0.2),
    SOFTMAX(2);

    /** What an element takes one thread, about. */
    final double nanos;

    Verb(double nanos) {
      this.nanos = nanos;
    }
  }

  private final Workers workers;

  /** The instruction set of native functions, or null for plain Java. */
  private final Isa isa;

  private final Data x = new Data();
  private final Data y = new Data();
  private final Data z = new Data();
  private final Data labels = new Data();
  private Verb verb;
  private Nonlinearity function;
  private long rows;
  private long columns;
  private long total;
  private long rowsPerItem;
  private long elementsPerItem;
  private double[] part = {};

  MathCall(Workers workers, Isa isa) {
    this.workers = workers;
    this.isa = isa;
  }

  static long rows(Tensor t) {
    return t.shape().batch();
  }

  static long columns(Tensor t) {
    long rows = rows(t);
    return rows == 0 ? t.shape().withBatch(1).elements() : t.shape().elements() / rows;
  }

  private int elementItems(Tensor t) {
    total = t.shape().elements();
    if (total == 0) {
      return 0;
    }
    // Evenly, so that threads end together: small layers have two items.
    elementsPerItem = Layout.ceil(Layout.ceil(total, Layout.ceil(total, ITEM)), LINE) * LINE;
    return Math.toIntExact(Layout.ceil(total, elementsPerItem));
  }

  private int rowItems(Tensor t) {
    rows = rows(t);
    columns = columns(t);
    total = rows * columns;
    if (total == 0) {
      return 0;
    }
    rowsPerItem = Math.max(1, ITEM / columns);
    rowsPerItem = Layout.ceil(rows, Layout.ceil(rows, rowsPerItem));
    return Math.toIntExact(Layout.ceil(rows, rowsPerItem));
  }

  private void launch(Verb v, int items) {
    verb = v;
    workers.run(this, items, (long) (total * v.nanos));
  }

  void addBias(Tensor from, Tensor bias, Tensor to) {
    x.set(from);
    z.set(bias);
    y.set(to);
    launch(Verb.ADD_BIAS, rowItems(from));
  }

  void activate(Nonlinearity f, Tensor from, Tensor to) {
    x.set(from);
    y.set(to);
    function = f;
    launch(Verb.ACTIVATE, elementItems(from));
  }

  void activationGradient(Nonlinearity f, Tensor out, Tensor grad, Tensor to) {
    x.set(out);
    z.set(grad);
    y.set(to);
    function = f;
    launch(Verb.ACTIVATION_GRADIENT, elementItems(out));
  }

  void squaredNorm(Tensor of, Tensor out, Write w) {
    x.set(of);
    int items = elementItems(of);
    roomForParts(items);
    launch(Verb.SQUARED_NORM, items);
    double sum = sumOfParts(items);
    HostStorage h = (HostStorage) out.storage();
    long at = out.byteOffset();
    h.putDouble(at, w == Write.ADD ? h.getDouble(at) + sum : sum);
  }

  void softmaxCrossEntropy(Tensor logits, Tensor wanted, Tensor loss, Tensor dlogits) {
    checkLabels(wanted, columns(logits));
    x.set(logits);
    labels.set(wanted);
    y.set(dlogits);
    int items = rowItems(logits);
    roomForParts(items);
    launch(Verb.SOFTMAX, items);
    HostStorage h = (HostStorage) loss.storage();
    h.putDouble(loss.byteOffset(), items == 0 ? 0 : sumOfParts(items) / rows);
  }

  private void roomForParts(int items) {
    if (part.length < items) {
      part = new double[items];
    }
  }

  private double sumOfParts(int items) {
    double sum = 0;
    for (int i = 0; i < items; i++) {
      sum += part[i];
    }
    return sum;
  }

  @Override
  void run(int item, Scratch s) {
    if (verb == Verb.SOFTMAX || verb == Verb.ADD_BIAS) {
      long from = item * rowsPerItem;
      long to = Math.min(rows, from + rowsPerItem);
      if (verb == Verb.SOFTMAX) {
        part[item] = softmax(from, to, s);
      } else {
        addBias(from, to, s);
      }
      return;
    }
    long from = item * elementsPerItem;
    long end = Math.min(total, from + elementsPerItem);
    if (isa != null && x.type == DType.F32 && verb != Verb.SQUARED_NORM) {
      elements(from, end);
      return;
    }
    double sum = 0;
    for (long e = from; e < end; e += Scratch.CHUNK) {
      sum += chunk(e, (int) Math.min(Scratch.CHUNK, end - e), s);
    }
    if (verb == Verb.SQUARED_NORM) {
      part[item] = sum;
    }
  }

  /** The same as {@link #chunk}, by native code. */
  private void elements(long from, long end) {
    int set = isa.ordinal();
    switch (verb) {
      case ACTIVATE ->
          Simd.activate(set, function.ordinal(), x.address(from), y.address(from), end - from);
      case ACTIVATION_GRADIENT ->
          Simd.activationGradient(
              set,
              function.ordinal(),
              x.address(from),
              z.address(from),
              y.address(from),
              end - from);
      default -> throw new AssertionError(verb);
    }
  }

  private double softmax(long from, long to, Scratch s) {
    if (isa == null || x.type != DType.F32 || columns > Scratch.CHUNK) {
      return Softmax.rows(x, labels, y, from, to, rows, columns, s);
    }
    return Simd.softmax(
        isa.ordinal(),
        x.address(0),
        labels.address(0),
        labels.type == DType.I32,
        y.address(0),
        rows,
        columns,
        from,
        to);
  }

  private void addBias(long from, long to, Scratch s) {
    for (long j = 0; j < columns; j += Scratch.CHUNK) {
      int n = (int) Math.min(Scratch.CHUNK, columns - j);
      // Short rows are taken several at a time, with the bias as often.
      int together = n < columns ? 1 : (int) Math.min(Scratch.CHUNK / n, to - from);
      for (int k = 0; k < together; k++) {
        if (x.type == DType.F64) {
          z.get(j, s.otherd, k * n, n);
        } else {
          z.get(j, s.other, k * n, n, null);
        }
      }
      for (long r = from; r < to; r += together) {
        chunk(r * columns + j, (int) Math.min(together, to - r) * n, s);
      }
    }
  }

  private double chunk(long e, int n, Scratch s) {
    return x.type == DType.F64 ? doubles(e, n, s) : floats(e, n, s);
  }

  private double floats(long e, int n, Scratch s) {
    x.get(e, s.x, 0, n, null);
    switch (verb) {
      case ADD_BIAS -> Lanes.add(s.x, s.other, n);
      case ACTIVATE -> {
        switch (function) {
          case SIGMOID -> Functions.sigmoid(s.x, s.other, s.second, n);
          case TANH -> Functions.tanh(s.x, s.other, s.second, n);
          case RELU -> Lanes.relu(s.x, n);
          default -> throw new AssertionError(function);
        }
      }
      case ACTIVATION_GRADIENT -> {
        z.get(e, s.dy, 0, n, null);
        Lanes.activationGradient(function, s.x, s.dy, n);
      }
      default -> {
        return Lanes.squares(s.x, n);
      }
    }
    y.put(e, s.x, n, null);
    return 0;
  }

  private double doubles(long e, int n, Scratch s) {
    double[] v = s.xd;
    double[] w = s.dyd;
    x.get(e, v, 0, n);
    switch (verb) {
      case ADD_BIAS -> {
        for (int i = 0; i < n; i++) {
          v[i] += s.otherd[i];
        }
      }
      case ACTIVATE -> {
        switch (function) {
          case SIGMOID -> Functions.sigmoid(v, n);
          case TANH -> Functions.tanh(v, n);
          case RELU -> Functions.relu(v, n);
          default -> throw new AssertionError(function);
        }
      }
      case ACTIVATION_GRADIENT -> {
        z.get(e, w, 0, n);
        for (int i = 0; i < n; i++) {
          v[i] =
              switch (function) {
                case SIGMOID -> w[i] * (v[i] * (1 - v[i]));
                case TANH -> w[i] * (1 - v[i] * v[i]);
                case RELU -> v[i] <= 0 ? 0 : w[i];
              };
        }
      }
      default -> {
        double sum = 0;
        for (int i = 0; i < n; i++) {
          sum += v[i] * v[i];
        }
        return sum;
      }
    }
    y.put(e, v, n);
    return 0;
  }

  void biasGradient(Tensor dy, Tensor dbias, Write w) {
    Scratch s = workers.scratch();
    x.set(dy);
    y.set(dbias);
    long height = rows(dy);
    long width = columns(dy);
    for (long j = 0; j < width; j += Scratch.CHUNK) {
      int n = (int) Math.min(Scratch.CHUNK, width - j);
      Arrays.fill(s.total, 0, n, 0);
      for (long r = 0; r < height; ) {
        if (x.type == DType.F64) {
          x.get(r++ * width + j, s.xd, 0, n);
          for (int i = 0; i < n; i++) {
            s.total[i] += s.xd[i];
          }
        } else {
          Arrays.fill(s.sum, 0, n, 0);
          // Whole rows that are short are read several at a time.
          int together = n < width ? 1 : Math.min(32, Scratch.CHUNK / n);
          for (long end = Math.min(height, r + 32); r < end; ) {
            int m = (int) Math.min(together, end - r);
            x.get(r * width + j, s.x, 0, m * n, null);
            Lanes.addRows(s.sum, s.x, m, n);
            r += m;
          }
          for (int i = 0; i < n; i++) {
            s.total[i] += s.sum[i];
          }
        }
      }
      writeTotals(j, n, w, s);
    }
  }

  private void writeTotals(long j, int n, Write w, Scratch s) {
    boolean add = w == Write.ADD;
    if (x.type == DType.F64) {
      y.get(j, s.xd, 0, n);
      for (int i = 0; i < n; i++) {
        s.xd[i] = s.total[i] + (add ? s.xd[i] : 0);
      }
      y.put(j, s.xd, n);
    } else {
      y.get(j, s.x, 0, n, null);
      for (int i = 0; i < n; i++) {
        s.x[i] = (float) (s.total[i] + (add ? s.x[i] : 0));
      }
      y.put(j, s.x, n, null);
    }
  }

  void correct(Tensor logits, Tensor wanted, Tensor count, Write w) {
    long width = columns(logits);
    checkLabels(wanted, width);
    x.set(logits);
    labels.set(wanted);
    HostStorage h = (HostStorage) count.storage();
    long right = w == Write.ADD ? h.getLong(count.byteOffset()) : 0;
    for (long r = 0, height = rows(logits); r < height; r++) {
      long label = label(labels, r);
      double chosen = x.get(r * width + label);
      boolean largest = chosen == chosen;
      for (long j = 0; j < width && largest; j++) {
        double other = x.get(r * width + j);
        largest = j < label ? chosen > other : chosen >= other;
      }
      right += largest ? 1 : 0;
    }
    h.putLong(count.byteOffset(), right);
  }

  static long label(Data d, long i) {
    return d.type == DType.I32 ? d.storage.getInt(d.at + 4 * i) : d.storage.getLong(d.at + 8 * i);
  }

  private void checkLabels(Tensor wanted, long classes) {
    labels.set(wanted);
    for (long i = 0, n = wanted.shape().elements(); i < n; i++) {
      long label = label(labels, i);
      if (label < 0 || label >= classes) {
        throw new IllegalArgumentException(
            "label " + label + " in row " + i + " is not in 0.." + (classes - 1));
      }
    }
  }
}
