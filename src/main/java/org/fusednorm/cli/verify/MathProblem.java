package org.fusednorm.cli.verify;

import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import org.fusednorm.DType;
import org.fusednorm.MathOps;
import org.fusednorm.Memory;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Parameter;
import org.fusednorm.Recording;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** The verbs beside normalization, copies and recordings, on matrices of one size. */
final class MathProblem implements Problem {
  private static final Tolerance ELEMENT = Tolerance.ofValues(1e-6, 1e-14);
  private static final Tolerance EXACT = Tolerance.ROUNDED;

  private final int rows;
  private final int columns;
  private final int depth;
  private final Shape shape;

  MathProblem(int rows, int columns, int depth) {
    this.rows = rows;
    this.columns = columns;
    this.depth = depth;
    shape = Shape.nc(rows, columns);
  }

  @Override
  public String name() {
    return "[" + rows + ", " + columns + "] depth " + depth;
  }

  @Override
  public List<DType> types() {
    return List.of(DType.F32, DType.F16, DType.BF16, DType.F64);
  }

  @Override
  public boolean needsMath() {
    return true;
  }

  @Override
  public void run(Memory m, DType t, Results out) {
    MathOps math = m.backend().math();
    for (boolean transposeA : new boolean[] {false, true}) {
      for (boolean transposeB : new boolean[] {false, true}) {
        matmul(m, math, t, transposeA, transposeB, out);
      }
    }
    denseGradients(m, math, t, out);
    bias(m, math, t, out);
    for (Nonlinearity f : Nonlinearity.values()) {
      activation(m, math, t, f, out);
    }
    loss(m, math, t, out);
    sgd(m, math, t, out);
    descent(m, math, t, out);
    gather(m, math, t, out);
    squaredNorm(m, math, t, out);
    memory(m, math, t, out);
  }

  private long seed(int of) {
    return 1_000_000L * rows + 1000L * columns + 10L * depth + of;
  }

  private Tensor eighths(Memory m, Shape s, DType t, int seed) {
    return Values.tensor(m, s, t, Values.eighths(s.elements(), seed(seed)));
  }

  private Tensor coarse(Memory m, DType t, int seed) {
    return Values.tensor(m, shape, t, Values.coarse(shape.elements(), seed(seed)));
  }

  /** Once with sums that are exact in any order, once with all bits of F32 in use. */
  private void matmul(
      Memory m, MathOps math, DType t, boolean transposeA, boolean transposeB, Results out) {
    Shape left = transposeA ? Shape.of(depth, rows) : Shape.of(rows, depth);
    Shape right = transposeB ? Shape.of(columns, depth) : Shape.of(depth, columns);
    String name = "matmul " + (transposeA ? "A'" : "A") + (transposeB ? "B'" : "B");
    Tensor c = Values.output(m, shape, t);
    Tensor a = eighths(m, left, t, 1);
    Tensor b = eighths(m, right, t, 2);
    math.matmul(a, transposeA, b, transposeB, c, Write.SET);
    out.add(name, "exact", c, EXACT);
    c.copyFrom(Values.eighths(shape.elements(), seed(3)));
    math.matmul(a, transposeA, b, transposeB, c, Write.ADD);
    out.add(name, "exact, added", c, EXACT);
    if (t == DType.F32 || t == DType.F64) {
      a.copyFrom(Values.fine(left.elements(), seed(4)));
      b.copyFrom(Values.fine(right.elements(), seed(5)));
      math.matmul(a, transposeA, b, transposeB, c, Write.SET);
      double terms = depth / 4.0;
      out.add(name, "product", c, new Tolerance(1e-6, 1e-14, (i, e) -> terms + Math.abs(e)));
    }
  }

  private void denseGradients(Memory m, MathOps math, DType t, Results out) {
    Tensor dy = eighths(m, shape, t, 6);
    Tensor x = eighths(m, Shape.of(rows, depth), t, 7);
    Tensor weight = eighths(m, Shape.of(columns, depth), t, 8);
    Tensor dweight = eighths(m, weight.shape(), t, 9);
    Tensor dx = Values.output(m, x.shape(), t);
    math.denseGradients(dy, x, weight, dweight, Write.ADD, dx);
    out.add("denseGradients", "dweight, added", dweight, EXACT);
    out.add("denseGradients", "dx", dx, EXACT);
    math.denseGradients(dy, x, weight, dweight, Write.SET, null);
    out.add("denseGradients", "dweight alone", dweight, EXACT);
  }

  private void bias(Memory m, MathOps math, DType t, Results out) {
    Tensor bias = eighths(m, Shape.of(columns), t, 10);
    Tensor x = eighths(m, shape, t, 11);
    Tensor y = Values.output(m, shape, t);
    math.addBias(x, bias, y);
    out.add("addBias", "y", y, EXACT);
    math.addBias(x, bias, x);
    out.add("addBias", "in place", x, EXACT);
    Tensor dy = eighths(m, shape, t, 12);
    math.biasGradient(dy, bias, Write.ADD);
    out.add("biasGradient added", "dbias", bias, EXACT);
    math.biasGradient(dy, bias, Write.SET);
    out.add("biasGradient", "dbias", bias, EXACT);
  }

  private void activation(Memory m, MathOps math, DType t, Nonlinearity f, Results out) {
    String name = f.name().toLowerCase(Locale.ROOT);
    Tensor x = coarse(m, t, 20);
    Tensor y = Values.output(m, shape, t);
    math.activate(f, x, y);
    out.add(name, "y", y, ELEMENT);
    math.activate(f, x, x);
    out.add(name, "in place", x, ELEMENT);
    // Given, as a rounded y of a 16-bit type would be judged twice; all of them are results of f.
    y.copyFrom(Values.eighths(shape.elements(), seed(21)));
    Tensor dy = coarse(m, t, 22);
    Tensor dx = Values.output(m, shape, t);
    math.activationGradient(f, y, dy, dx);
    out.add(name + " gradient", "dx", dx, ELEMENT);
    math.activationGradient(f, y, dy, dy);
    out.add(name + " gradient", "in place", dy, ELEMENT);
  }

  private void loss(Memory m, MathOps math, DType t, Results out) {
    long[] chosen = new SplittableRandom(seed(30)).longs(rows, 0, columns).toArray();
    Tensor labels = m.empty(Shape.of(rows), DType.I64).copyFrom(chosen);
    Tensor labels32 = m.empty(Shape.of(rows), DType.I32).copyFrom(chosen);
    Tensor logits = coarse(m, t, 31);
    Tensor gradient = Values.output(m, shape, t);
    Tensor loss = Values.output(m, Shape.of(1), DType.F64);
    Tolerance perRow = new Tolerance(1e-6, 1e-14, (i, expected) -> 1.0 / rows + Math.abs(expected));
    math.softmaxCrossEntropy(logits, labels, loss, gradient);
    out.add("softmaxCrossEntropy", "loss", loss, ELEMENT);
    out.add("softmaxCrossEntropy", "dlogits", gradient, perRow);
    math.softmaxCrossEntropy(logits, labels32, loss, null);
    out.add("softmaxCrossEntropy", "loss alone", loss, ELEMENT);
    Tensor count = m.empty(Shape.of(1), DType.I64).copyFrom(5L);
    math.correct(logits, labels, count, Write.ADD);
    out.add("correct", "count added", count, EXACT);
    math.correct(logits, labels32, count, Write.SET);
    out.add("correct", "count", count, EXACT);
    // In place last: the logits are gone.
    math.softmaxCrossEntropy(logits, labels, loss, logits);
    out.add("softmaxCrossEntropy", "in place", logits, perRow);
  }

  private void sgd(Memory m, MathOps math, DType t, Results out) {
    Scalar rate = m.scalar(0.25);
    Scalar momentum = m.scalar(0.875);
    Scalar decay = m.scalar(0.125);
    for (int kind = 0; kind < 4; kind++) {
      boolean moving = kind % 2 == 1;
      boolean decaying = kind > 1;
      String name = "sgd" + (moving ? "+momentum" : "") + (decaying ? "+decay" : "");
      Tensor value = coarse(m, t, 40);
      Tensor velocity = moving ? coarse(m, t, 42) : null;
      math.sgd(
          value,
          coarse(m, t, 41),
          velocity,
          rate,
          moving ? momentum : null,
          decaying ? decay : null);
      out.add(name, "value", value, ELEMENT);
      if (moving) {
        out.add(name, "velocity", velocity, ELEMENT);
      }
    }
  }

  /** Of two parameters at once. */
  private void descent(Memory m, MathOps math, DType t, Results out) {
    List<Parameter> parameters =
        List.of(
            new Parameter("matrix", coarse(m, t, 43), coarse(m, t, 44)),
            new Parameter(
                "row", eighths(m, Shape.of(columns), t, 45), eighths(m, Shape.of(columns), t, 46)));
    List<Tensor> velocities = List.of(coarse(m, t, 47), eighths(m, Shape.of(columns), t, 48));
    math.sgd(parameters, velocities, m.scalar(0.25), m.scalar(0.875), m.scalar(0.125));
    for (int i = 0; i < 2; i++) {
      String name = "sgd of two, " + parameters.get(i).name();
      out.add(name, "value", parameters.get(i).value(), ELEMENT);
      out.add(name, "velocity", velocities.get(i), ELEMENT);
    }
  }

  private void gather(Memory m, MathOps math, DType t, Results out) {
    int entries = 2 * rows;
    SplittableRandom random = new SplittableRandom(seed(50));
    Tensor order = m.empty(Shape.of(rows), DType.I64);
    order.copyFrom(random.longs(rows, 0, entries).toArray());
    Shape table = Shape.nc(entries, columns);
    Tensor bytes = m.empty(table, DType.U8);
    bytes.copyFrom(random.longs(table.elements(), 0, 256).toArray());
    Tensor y = Values.output(m, shape, t);
    math.gather(bytes, order, 1 / 255.0, y);
    out.add("gather U8", "out", y, ELEMENT);
    math.gather(eighths(m, table, t, 51), order, 1, y);
    out.add("gather", "out", y, EXACT);
    Tensor numbers = m.empty(Shape.of(entries), DType.I64);
    numbers.copyFrom(random.longs(entries).map(v -> v >> 12).toArray());
    Tensor picked = m.zeros(Shape.of(rows), DType.I64);
    math.gather(numbers, order, 1, picked);
    out.add("gather I64", "out", picked, EXACT);
  }

  private void squaredNorm(Memory m, MathOps math, DType t, Results out) {
    Tensor sum = m.empty(Shape.of(1), DType.F64).copyFrom(0.5);
    Tensor x = eighths(m, shape, t, 60);
    math.squaredNorm(x, sum, Write.ADD);
    out.add("squaredNorm added", "sum", sum, EXACT);
    math.squaredNorm(x, sum, Write.SET);
    out.add("squaredNorm", "sum", sum, EXACT);
  }

  /** Copies within the device, zeros, and a recording that is run again on other data. */
  private void memory(Memory m, MathOps math, DType t, Results out) {
    Tensor x = coarse(m, t, 70);
    Tensor y = Values.output(m, shape, t);
    y.copyFrom(x);
    out.add("copy", "copy", y, EXACT);
    y.batch(0, 1).fillZero();
    out.add("zero", "first row", y, EXACT);
    try (Recording step = m.backend().record(() -> math.activate(Nonlinearity.RELU, x, y))) {
      double[] other = Values.eighths(shape.elements(), seed(71));
      x.copyFrom(other);
      Values.unwritten(y);
      step.replay();
      out.add("relu replayed", "y", y, EXACT);
    }
  }

  static List<MathProblem> all(boolean quick) {
    return quick
        ? List.of(new MathProblem(5, 7, 9))
        : List.of(
            new MathProblem(1, 1, 1),
            new MathProblem(2, 3, 4),
            new MathProblem(5, 7, 9),
            new MathProblem(16, 16, 16),
            new MathProblem(33, 65, 130),
            new MathProblem(60, 10, 100),
            new MathProblem(129, 17, 31));
  }
}
