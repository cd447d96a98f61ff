package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.threshold;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Moments;
import org.fusednorm.Recording;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every normalization verb on every kind of data against the reference; fused and in parts, eagerly
 * and replayed, under several schedules, to the same bits. Run by {@link CudaNormTest}.
 */
class EngineNorm {
  private static final double EPS = 1e-5;

  /** Values nearer to 0 than this may be gated one way or the other: they get no gradient. */
  private static final double NEAR_GATE = 1e-3;

  /** Shapes that a test names: outer, channels, inner, as in 2x3x16,4x1x8; at its end large. */
  private static final String NAMED =
      System.getProperty("shapes").contains("x") ? System.getProperty("shapes") : "";

  /** Named shapes of more elements are tried with activation and residual in turn. */
  private static final long MANY = NAMED.isEmpty() ? Long.MAX_VALUE : 1 << 13;

  private static final List<DType> TYPES =
      Stream.of(System.getProperty("types", "F32,F16,BF16,F64").split(","))
          .map(DType::valueOf)
          .toList();

  private static Backend cuda;
  private static Backend reference;

  /**
   * One kind of data.
   *
   * @param offset elements by which it misses alignment
   */
  record Case(Shape shape, DType type, int offset, Activation activation, boolean residual) {}

  @BeforeAll
  static void open() {
    cuda = EngineMemory.open();
    reference = Backends.open("reference");
  }

  @AfterAll
  static void close() {
    cuda.close();
    reference.close();
  }

  private static boolean small() {
    return !System.getProperty("shapes").endsWith("large");
  }

  /** Outer, channels, inner. */
  private static List<long[]> shapes() {
    if (!NAMED.isEmpty()) {
      return Stream.of(NAMED.split(","))
          .filter(s -> s.contains("x"))
          .map(s -> Stream.of(s.split("x")).mapToLong(Long::parseLong).toArray())
          .toList();
    }
    return small()
        ? List.of(
            new long[] {8, 1, 1}, // one column of scalars, folded to a plane
            new long[] {2, 3, 16}, // planes of whole vectors
            new long[] {3, 5, 49}, // planes that are not
            new long[] {5, 7, 3}, // planes smaller than a vector
            new long[] {3, 2, 4}, // two planes share a byte of the gate
            new long[] {33, 24, 1}, // rows of whole vectors, three columns
            new long[] {9, 12, 1}, // rows of whole vectors of F32 that share bytes of the gate
            new long[] {19, 13, 1}, // rows that are not
            new long[] {40, 264, 1}) // several groups of columns
        : List.of(
            new long[] {4, 32, 784},
            new long[] {1, 2, 16392}, // slices with a rest
            new long[] {16, 3, 1024}, // whole slices
            new long[] {3, 31, 1001},
            new long[] {1024, 96, 1},
            new long[] {1025, 77, 1},
            new long[] {2049, 8, 1},
            new long[] {5000, 1, 1},
            new long[] {64, 2050, 1});
  }

  static Stream<Case> cases() {
    List<Case> all = new ArrayList<>();
    int turn = 0;
    for (long[] s : shapes()) {
      Shape shape = s[2] == 1 ? Shape.nc(s[0], s[1]) : Shape.ncl(s[0], s[1], s[2]);
      turn++;
      for (DType t : TYPES) {
        if (t == DType.F64 && !NAMED.isEmpty()) {
          continue; // named for kernels of the others
        }
        boolean aligned = t == DType.F64 || !small() || !NAMED.isEmpty();
        for (int offset : aligned ? new int[] {0} : new int[] {0, 1, 4}) {
          int combination = 0;
          for (Activation f : Activation.values()) {
            for (boolean residual : new boolean[] {false, true}) {
              if (shape.elements() <= MANY || combination++ == turn % 4) {
                all.add(new Case(shape, t, offset, f, residual));
              }
            }
          }
        }
      }
    }
    if (OnEmulator.FAIL_FAST) {
      Collections.shuffle(
          all, new Random(1)); // where the first failure counts, all kinds come early
    }
    return all.stream();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithTheReference(Case c) {
    double[] gradient = gradient(c);
    Map<String, double[]> expected = new Step(reference, c, gradient).all();
    Map<String, double[]> first = null;
    // The order of threads does not depend on the type: one of them goes through more schedules.
    long[][] schedules =
        small() && c.type() == DType.F32
            ? new long[][] {{0, 0}, {1, 3}, {2, 1}}
            : new long[][] {{c.type().ordinal(), 0}};
    for (long[] schedule : schedules) {
      if (small() && !Emulator.onDevice()) {
        Emulator.schedule(schedule[0], schedule[1]);
      }
      Map<String, double[]> actual = new Step(cuda, c, gradient).all();
      if (first == null) {
        first = actual;
        compare(c, expected, actual);
      }
      Map<String, double[]> one = first;
      actual.forEach(
          (name, values) ->
              assertArrayEquals(one.get(name), values, 0, name + " again, under another schedule"));
    }
  }

  private static void compare(
      Case c, Map<String, double[]> expected, Map<String, double[]> actual) {
    assertEquals(expected.keySet(), actual.keySet());
    expected.forEach(
        (name, values) -> {
          double limit =
              name.startsWith("F64 ")
                  ? (c.type() == DType.F64 ? 1e-12 : 2e-6)
                  : 2 * threshold(name.startsWith("F32 ") ? c.type().parameter() : c.type());
          assertClose(name, values, actual.get(name), limit);
        });
  }

  /** A gradient that is 0 wherever rounding could open or close the gate. */
  private static double[] gradient(Case c) {
    int n = (int) c.shape().elements();
    double[] dy = normal(c.type(), 2, n, 0.1, 1);
    try (Scope m = reference.scope()) {
      Inputs in = new Inputs(m, c);
      Saved saved = Saved.empty(m, c.shape(), c.type(), false);
      Tensor v = in.empty();
      Tensor residual = c.residual() ? in.normal(3, 0, 1) : null;
      reference
          .norm()
          .forward(in.normal(1, 3, 1.5), in.affine(), EPS, Activation.NONE, residual, saved, v);
      double[] values = v.toDoubles();
      for (int i = 0; i < n; i++) {
        if (Math.abs(values[i]) < NEAR_GATE) {
          dy[i] = 0;
        }
      }
    }
    return dy;
  }

  /** Tensors of one case. */
  private record Inputs(Memory memory, Case c) {
    Tensor empty() {
      long n = c.shape().elements();
      return memory
          .empty(Shape.of(n + c.offset()), c.type())
          .batch(c.offset(), c.offset() + n)
          .as(c.shape());
    }

    Tensor normal(long seed, double mean, double std) {
      int n = (int) c.shape().elements();
      return empty().copyFrom(org.fusednorm.testing.Values.normal(c.type(), seed, n, mean, std));
    }

    Affine affine() {
      int channels = (int) c.shape().channels();
      Shape s = Shape.of(channels);
      DType p = c.type().parameter();
      return new Affine(
          memory.empty(s, p).copyFrom(org.fusednorm.testing.Values.normal(p, 4, channels, 1, 0.3)),
          memory.empty(s, p).copyFrom(org.fusednorm.testing.Values.normal(p, 5, channels, 0, 0.5)));
    }
  }

  /** A training step, fused and in parts. */
  private record Step(Backend b, Case c, double[] gradient) {
    Map<String, double[]> all() {
      Map<String, double[]> out = new LinkedHashMap<>();
      try (Scope m = b.scope()) {
        Inputs in = new Inputs(m, c);
        fused(m, in, out);
        parts(m, in, out);
        inference(m, in, out);
      }
      return out;
    }

    private boolean gate() {
      return c.residual() || c.shape().channels() % 2 == 0;
    }

    private void fused(Scope m, Inputs in, Map<String, double[]> out) {
      long channels = c.shape().channels();
      double count = c.shape().valuesPerChannel();
      Tensor x = in.normal(1, 3, 1.5);
      Tensor dy = in.empty().copyFrom(gradient);
      Tensor residual = c.residual() ? in.normal(3, 0, 1) : null;
      Tensor y = in.empty();
      Tensor dx = in.empty();
      Tensor dResidual = c.residual() ? in.empty() : null;
      Affine a = in.affine();
      Affine gradients = in.affine();
      Saved saved = Saved.empty(m, c.shape(), c.type(), gate());
      Sums sums = Sums.empty(m, channels);
      Running running = Running.moving(m, channels, 0.3, true);
      Runnable step =
          () -> {
            b.norm().forward(x, a, EPS, c.activation(), residual, saved, y);
            b.norm().backward(dy, x, saved, c.activation(), sums, dx, dResidual);
            b.norm().gradients(sums, gradients, Write.ADD);
            b.norm().commit(List.of(saved), List.of(running));
          };
      step.run();
      outputs(out, saved, sums, y, dx, dResidual, count);
      out.put("F64 running mean", running.mean().toDoubles());
      out.put("F64 running variance", running.variance().toDoubles());
      out.put("F32 dgamma", scaled(gradients.gamma().toDoubles(), count));
      out.put("F32 dbeta", scaled(gradients.beta().toDoubles(), count));
      out.put("batches", running.count().toDoubles());
      if (b == cuda) {
        Map<String, double[]> replayed = new LinkedHashMap<>();
        try (Recording r = b.record(step)) {
          y.fillZero();
          dx.fillZero();
          sums.packed().fillZero();
          saved.mean().fillZero();
          r.replay();
          outputs(replayed, saved, sums, y, dx, dResidual, count);
        }
        replayed.forEach((name, v) -> assertArrayEquals(out.get(name), v, 0, name + " replayed"));
      }
    }

    private void outputs(
        Map<String, double[]> out,
        Saved saved,
        Sums sums,
        Tensor y,
        Tensor dx,
        Tensor dResidual,
        double count) {
      out.put("y", y.toDoubles());
      out.put("dx", dx.toDoubles());
      if (dResidual != null) {
        out.put("dResidual", dResidual.toDoubles());
      }
      out.put("count", saved.count().toDoubles());
      out.put("F64 mean", saved.mean().toDoubles());
      out.put("F64 variance", saved.variance().toDoubles());
      out.put("F64 invstd", saved.invstd().toDoubles());
      out.put("F32 center", saved.center().toDoubles());
      out.put("F32 scale", saved.scale().toDoubles());
      out.put("F32 shift", saved.shift().toDoubles());
      out.put("F64 sum of dy", scaled(sums.dy().toDoubles(), count));
      out.put("F64 sum of dy xhat", scaled(sums.dyXhat().toDoubles(), count));
    }

    /** The same in parts; on a GPU to the same bits. */
    private void parts(Scope m, Inputs in, Map<String, double[]> out) {
      long channels = c.shape().channels();
      Tensor x = in.normal(1, 3, 1.5);
      Tensor dy = in.empty().copyFrom(gradient);
      Tensor y = in.empty();
      Moments moments = Moments.empty(m, channels);
      Saved saved = Saved.empty(m, c.shape(), c.type(), gate());
      Sums sums = Sums.empty(m, channels);
      b.norm().moments(x, moments);
      out.put("F64 M2", scaled(moments.m2().toDoubles(), c.shape().valuesPerChannel()));
      out.put("values", moments.count().toDoubles());
      b.norm().coefficients(moments, in.affine(), EPS, saved);
      // Over the residual, and dx over dy or, if that becomes the gradient of the residual, over x.
      if (c.residual()) {
        y.copyFrom(in.normal(3, 0, 1));
      }
      b.norm().normalize(x, saved, c.activation(), c.residual() ? y : null, y);
      same(out, "y", y);
      b.norm().gradientSums(dy, x, saved, c.activation(), sums);
      Tensor dx = c.residual() ? x : dy;
      b.norm().inputGradient(dy, x, saved, sums, c.activation(), dx, c.residual() ? dy : null);
      same(out, "dx", dx);
      if (c.residual()) {
        same(out, "dResidual", dy);
      }
    }

    private void same(Map<String, double[]> out, String name, Tensor t) {
      if (b == cuda) {
        assertArrayEquals(out.get(name), t.toDoubles(), 0, name + " in parts");
      }
    }

    private void inference(Scope m, Inputs in, Map<String, double[]> out) {
      long channels = c.shape().channels();
      Tensor x = in.normal(1, 3, 1.5);
      Tensor dy = in.empty().copyFrom(gradient);
      Running running = Running.cumulative(m, channels, false);
      running.mean().copyFrom(normal(DType.F64, 6, (int) channels, 3, 0.1));
      Tensor residual = c.residual() ? in.normal(3, 0, 1) : null;
      Affine a = in.affine();
      Saved saved = Saved.empty(m, c.shape(), c.type(), gate());
      b.norm().coefficients(running, a, EPS, saved);
      Sums sums = Sums.empty(m, channels);
      Tensor y = in.empty();
      b.norm().normalize(x, saved, Activation.NONE, residual, y);
      Tensor dx = in.empty();
      b.norm().backward(dy, x, saved, Activation.NONE, sums, dx, null);
      out.put("dx of constant statistics", dx.toDoubles());
      double count = c.shape().valuesPerChannel();
      out.put("F64 sum of dy xhat, constant", scaled(sums.dyXhat().toDoubles(), count));
      b.norm().infer(x, running, a, EPS, c.activation(), residual, x);
      out.put("inferred over x", x.toDoubles());
    }

    private static double[] scaled(double[] v, double by) {
      for (int i = 0; i < v.length; i++) {
        v[i] /= by;
      }
      return v;
    }
  }
}
