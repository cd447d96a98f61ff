package org.fusednorm.cuda;

import static org.fusednorm.Write.SET;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.threshold;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.List;
import java.util.SplittableRandom;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.MathOps;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.cuda.Twins.Twin;
import org.junit.jupiter.api.Test;

/** Every verb beside normalization on the CUDA engine, against the reference. */
class CudaMathTest {
  private static final double INFINITY = Double.POSITIVE_INFINITY;
  private static final List<DType> TYPES = List.of(DType.F32, DType.F16, DType.BF16, DType.F64);

  /** Rows, columns and depth: less than a warp, a block or a tile, and a little more. */
  private static final int[][] SMALL = {
    {0, 5, 3}, {4, 0, 2}, {3, 4, 0}, {1, 1, 1}, {5, 7, 9}, {16, 10, 17}, {33, 34, 20}, {130, 3, 1}
  };

  /** Several blocks of every kernel, several slices of rows, a row with a block of its own. */
  private static final int[][] LARGE = {{1100, 37, 9}, {3, 2500, 5}, {150, 129, 64}};

  /** Rows with a block of their own, tiles of 64 x 64. */
  private static final int[][] WIDE = {{2, 1030, 17}, {130, 70, 19}};

  @Test
  void checkedUnderSeveralSchedules() throws Exception {
    assumeFalse(Emulator.onDevice(), "the machine's own driver has no checks");
    String output = Emulator.run(Emulator.Build.CHECKED, Main.class, "-Dsizes=small");
    assertTrue(output.contains("6560 cases, 2 schedules"), output);
  }

  @Test
  void wideRowsAndLargeTilesChecked() throws Exception {
    assumeFalse(Emulator.onDevice(), "the machine's own driver has no checks");
    String output = Emulator.run(Emulator.Build.CHECKED, Main.class, "-Dsizes=wide");
    assertTrue(output.contains("848 cases, 1 schedules"), output);
  }

  @Test
  void largerSizes() throws Exception {
    String output = Emulator.run(Emulator.Build.PLAIN, Main.class, "-Dsizes=large");
    assertTrue(output.contains("1272 cases, 1 schedules"), output);
  }

  @Test
  void badData() throws Exception {
    String output = Emulator.run(Emulator.Build.CHECKED, BadData.class);
    assertEquals(
        """
        softmaxCrossEntropy: label 3 in row 5 is not in 0..2
        again: 1.0986122886681098
        correct: label -1 in row 2 is not in 0..2
        gather: row 7 at position 1 is not in 0..5
        gather of bytes: row -7 at position 0 is not in 0..5
        """,
        output);
  }

  /** Runs in a JVM of its own; a failure is its exit code. */
  static final class Main {
    private static int cases;

    public static void main(String[] args) {
      String sizes = System.getProperty("sizes");
      int[][] all =
          switch (sizes) {
            case "large" -> LARGE;
            case "wide" -> WIDE;
            default -> SMALL;
          };
      boolean products = sizes.equals("products");
      long[][] schedules =
          sizes.equals("small") ? new long[][] {{1, 3}, {7, 1}} : new long[][] {{}};
      try (Backend cuda = TestBackends.over(new CudaProvider().open(0));
          Backend reference = Backends.open("reference")) {
        for (long[] schedule : schedules) {
          if (schedule.length > 0) {
            Emulator.schedule(schedule[0], schedule[1]);
          }
          for (int[] size : all) {
            for (DType t : TYPES) {
              for (int before = 0; before < 2; before++) {
                new Main(reference, cuda, size, t, before).all(products);
              }
            }
          }
        }
      }
      System.out.println(cases + " cases, " + schedules.length + " schedules");
    }

    private final Backend reference;
    private final Backend cuda;
    private final int rows;
    private final int columns;
    private final int depth;
    private final Shape shape;
    private final DType type;
    private final int before;
    private final String name;
    private long seed;

    Main(Backend reference, Backend cuda, int[] size, DType type, int before) {
      this.reference = reference;
      this.cuda = cuda;
      rows = size[0];
      columns = size[1];
      depth = size[2];
      shape = Shape.nc(rows, columns);
      this.type = type;
      this.before = before;
      name = type + " " + shape + " depth " + depth + " at " + before;
      seed = 1000L * rows + columns;
    }

    private void all(boolean productsAlone) {
      try (Twins twins = new Twins(reference, cuda)) {
        for (int transposed = 0; transposed < 4; transposed++) {
          matmul(twins, (transposed & 1) != 0, (transposed & 2) != 0);
        }
        if (productsAlone) {
          return;
        }
        bias(twins);
        for (Nonlinearity f : Nonlinearity.values()) {
          activation(twins, f);
        }
        loss(twins, DType.I64);
        loss(twins, DType.I32);
        for (int kind = 0; kind < 4; kind++) {
          sgd(twins, (kind & 1) != 0, (kind & 2) != 0);
        }
        gather(twins);
        squaredNorm(twins);
      }
    }

    private double[] values(Shape s, double deviation) {
      return normal(type, seed++, (int) s.elements(), 0, deviation);
    }

    /** Multiples of 1/8 up to 1: sums of their products are exact in any order. */
    private double[] eighths(Shape s) {
      return new SplittableRandom(seed++)
          .ints(s.elements(), -8, 9)
          .mapToDouble(i -> i / 8.0)
          .toArray();
    }

    private void both(BiConsumer<MathOps, Function<Twin, Tensor>> verb) {
      verb.accept(reference.math(), t -> t == null ? null : t.truth);
      verb.accept(cuda.math(), t -> t == null ? null : t.tested);
    }

    private void check(String verb, Twin t, double threshold) {
      t.check(verb + " of " + name, threshold);
      cases++;
    }

    private void matmul(Twins twins, boolean transposeA, boolean transposeB) {
      Shape left = transposeA ? Shape.of(depth, rows) : Shape.of(rows, depth);
      Shape right = transposeB ? Shape.of(columns, depth) : Shape.of(depth, columns);
      Twin a = twins.of(left, type, before, eighths(left));
      Twin b = twins.of(right, type, before, eighths(right));
      Twin c = twins.output(shape, type, before);
      String verb = "matmul " + (transposeA ? "A'" : "A") + (transposeB ? "B'" : "B");
      for (Write w : Write.values()) {
        both((m, at) -> m.matmul(at.apply(a), transposeA, at.apply(b), transposeB, at.apply(c), w));
        check(verb + " " + w, c, 0);
      }
      Twin x = twins.of(left, type, before, values(left, 1));
      Twin y = twins.of(right, type, before, values(right, 1));
      both((m, at) -> m.matmul(at.apply(x), transposeA, at.apply(y), transposeB, at.apply(c), SET));
      check(verb, c, threshold(type) + (type == DType.F64 ? 0 : 1e-6 * Math.sqrt(depth)));
    }

    private void bias(Twins twins) {
      Shape perColumn = Shape.of(columns);
      Twin x = twins.of(shape, type, before, values(shape, 1));
      Twin bias = twins.of(perColumn, type, 1 - before, values(perColumn, 1));
      Twin y = twins.output(shape, type, before);
      both((m, at) -> m.addBias(at.apply(x), at.apply(bias), at.apply(y)));
      check("addBias", y, threshold(type));
      both((m, at) -> m.addBias(at.apply(x), at.apply(bias), at.apply(x)));
      check("addBias in place", x, threshold(type));
      for (Write w : Write.values()) {
        both((m, at) -> m.biasGradient(at.apply(y), at.apply(bias), w));
        check("biasGradient " + w, bias, threshold(type));
      }
    }

    private void activation(Twins twins, Nonlinearity f) {
      double[] values = values(shape, 3);
      double[] hard = {0, -0.0, 60, -60, -100, Double.NaN, INFINITY, -INFINITY, 1e-4, 9, -88.5};
      System.arraycopy(hard, 0, values, 0, Math.min(hard.length, values.length));
      Twin x = twins.of(shape, type, before, values);
      Twin y = twins.output(shape, type, before);
      both((m, at) -> m.activate(f, at.apply(x), at.apply(y)));
      check(f.name(), y, threshold(type));
      both((m, at) -> m.activate(f, at.apply(x), at.apply(x)));
      check(f + " in place", x, threshold(type));
      // Given, as a rounded y of a 16-bit type would be judged twice.
      Twin of = twins.of(shape, type, before, eighths(shape));
      Twin dy = twins.of(shape, type, before, values(shape, 1));
      both((m, at) -> m.activationGradient(f, at.apply(of), at.apply(dy), at.apply(y)));
      check(f + " gradient", y, threshold(type));
      both((m, at) -> m.activationGradient(f, at.apply(of), at.apply(dy), at.apply(dy)));
      check(f + " gradient in place of dy", dy, threshold(type));
    }

    private void loss(Twins twins, DType ofLabels) {
      if (columns == 0) {
        return;
      }
      double[] values = values(shape, 4);
      for (int i = 0; i < 3 && rows > 4; i++) {
        // Rows with an infinity, with a NaN, and with equals.
        values[i * columns] = new double[] {-INFINITY, Double.NaN, 20}[i];
        values[(i + 1) * columns - 1] = i == 2 ? 20 : 0;
      }
      Shape perRow = Shape.of(rows);
      Twin labels = twins.of(perRow, ofLabels, before, integers(perRow, columns));
      Twin logits = twins.of(shape, type, before, values);
      Twin loss = twins.output(Shape.of(1), DType.F64, 0);
      Twin gradient = twins.output(shape, type, before);
      Twin count = twins.output(Shape.of(1), DType.I64, 0);
      for (Write w : Write.values()) {
        both((m, at) -> m.correct(at.apply(logits), at.apply(labels), at.apply(count), w));
        check("correct " + w, count, 0);
      }
      double ofLoss = type == DType.F64 ? 1e-12 : 1e-6;
      for (Twin d : new Twin[] {gradient, null, logits}) {
        both(
            (m, at) ->
                m.softmaxCrossEntropy(
                    at.apply(logits), at.apply(labels), at.apply(loss), at.apply(d)));
        check("softmaxCrossEntropy", loss, ofLoss);
        if (d != null) {
          // Gradients are a rows-th of what they are for one row.
          check("gradient of softmaxCrossEntropy", d, threshold(type) / Math.max(1, rows / 4));
        }
      }
    }

    private void sgd(Twins twins, boolean moving, boolean decaying) {
      Twin value = twins.of(shape, type, before, values(shape, 1));
      // Aligned alike, for four elements at a time, or not.
      int aside = decaying ? before : 1 - before;
      Twin gradient = twins.of(shape, type, aside, values(shape, 1));
      Twin velocity = moving ? twins.of(shape, type, before, values(shape, 1)) : null;
      for (Backend b : List.of(reference, cuda)) {
        Function<Twin, Tensor> at = b == cuda ? t -> t.tested : t -> t.truth;
        try (Scalar rate = b.scalar(0.1);
            Scalar momentum = b.scalar(0.9);
            Scalar decay = b.scalar(0.01)) {
          b.math()
              .sgd(
                  at.apply(value),
                  at.apply(gradient),
                  moving ? at.apply(velocity) : null,
                  rate,
                  moving ? momentum : null,
                  decaying ? decay : null);
        }
      }
      String verb = "sgd" + (moving ? "+momentum" : "") + (decaying ? "+decay" : "");
      check(verb, value, threshold(type));
      if (moving) {
        check("velocity of " + verb, velocity, threshold(type));
      }
    }

    private double[] integers(Shape s, int end) {
      return new SplittableRandom(seed++).ints(s.elements(), 0, end).asDoubleStream().toArray();
    }

    private void gather(Twins twins) {
      Shape perRow = Shape.of(rows);
      Twin order = twins.of(perRow, DType.I64, 0, integers(perRow, rows + 3));
      Shape table = Shape.nc(rows + 3, columns);
      Twin bytes = twins.of(table, DType.U8, before, integers(table, 256));
      Twin y = twins.output(shape, type, before);
      both((m, at) -> m.gather(at.apply(bytes), at.apply(order), 1 / 255.0, at.apply(y)));
      check("gather of bytes", y, threshold(type));
      Twin floats = twins.of(table, type, before, values(table, 1));
      both((m, at) -> m.gather(at.apply(floats), at.apply(order), 1, at.apply(y)));
      check("gather", y, 0);
      Shape perEntry = Shape.of(rows + 3);
      Twin numbers = twins.of(perEntry, DType.I64, before, integers(perEntry, 99));
      Twin picked = twins.output(perRow, DType.I64, before);
      both((m, at) -> m.gather(at.apply(numbers), at.apply(order), 1, at.apply(picked)));
      check("gather of labels", picked, 0);
    }

    private void squaredNorm(Twins twins) {
      Twin x = twins.of(shape, type, before, values(shape, 2));
      Twin sum = twins.output(Shape.of(1), DType.F64, 0);
      for (Write w : Write.values()) {
        both((m, at) -> m.squaredNorm(at.apply(x), at.apply(sum), w));
        check("squaredNorm " + w, sum, 1e-12);
      }
    }
  }

  /** Labels and rows that cannot be, found when somebody waits; and all is well again. */
  static final class BadData {
    public static void main(String[] args) {
      try (Backend b = TestBackends.over(new CudaProvider().open(0))) {
        Tensor logits = b.zeros(Shape.nc(6, 3), DType.F32);
        Tensor labels = b.empty(Shape.of(6), DType.I64).copyFrom(0, 1, 2, 0, 1, 3);
        Tensor loss = b.empty(Shape.of(1), DType.F64);
        b.math().softmaxCrossEntropy(logits, labels, loss, null);
        report("softmaxCrossEntropy", loss);
        labels.copyFrom(0, 1, 2, 0, 1, 2);
        b.math().softmaxCrossEntropy(logits, labels, loss, null);
        System.out.println("again: " + loss.toDoubles()[0]);

        Tensor narrow = b.empty(Shape.of(6), DType.I32).copyFrom(0, 1, -1, 0, 1, 2);
        Tensor count = b.empty(Shape.of(1), DType.I64);
        b.math().correct(logits, narrow, count, SET);
        report("correct", count);

        Tensor rows = b.empty(Shape.of(3), DType.I64).copyFrom(5, 7, 0);
        Tensor out = b.empty(Shape.nc(3, 3), DType.F32);
        b.math().gather(logits, rows, 1, out);
        report("gather", out);
        Tensor bytes = b.zeros(Shape.nc(6, 3), DType.U8);
        rows.copyFrom(-7, 5, 0);
        b.math().gather(bytes, rows, 1, out);
        report("gather of bytes", out);
      }
    }

    private static void report(String verb, Tensor wait) {
      try {
        wait.toDoubles();
        System.out.println(verb + ": nothing");
      } catch (IllegalArgumentException e) {
        System.out.println(verb + ": " + e.getMessage());
      }
    }
  }
}
