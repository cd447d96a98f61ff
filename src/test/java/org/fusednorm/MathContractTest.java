package org.fusednorm;

import static org.fusednorm.testing.Values.assertClose;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.testing.EachBackend;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Verbs that do several things at once, on every backend: as one after the other. */
class MathContractTest {
  /** Small ones, one that is cut into parts, one that ends within a vector, and nothing. */
  private static final List<Shape> PARAMETERS =
      List.of(Shape.of(100), Shape.of(33, 784), Shape.of(3), Shape.of(4_099), Shape.of(0, 5));

  static List<String> backends() {
    return EachBackend.list();
  }

  private static Tensor normal(Memory m, Shape s, DType t, long seed) {
    return Values.tensor(m, s, t, Values.normal(t, seed, (int) s.elements(), 0, 1));
  }

  private static List<Parameter> parameters(Memory m, DType t) {
    List<Parameter> all = new ArrayList<>();
    for (Shape s : PARAMETERS) {
      int i = all.size();
      all.add(new Parameter("p" + i, normal(m, s, t, 10 + i), normal(m, s, t, 20 + i)));
    }
    return all;
  }

  private static List<Tensor> velocities(Memory m, DType t) {
    List<Tensor> all = new ArrayList<>();
    for (Shape s : PARAMETERS) {
      all.add(normal(m, s, t, 30 + all.size()));
    }
    return all;
  }

  /** Values after a step at rate 0.3 with decay 0.01. */
  private static double[] descended(Parameter p) {
    double[] value = p.value().toDoubles();
    double[] gradient = p.gradient().toDoubles();
    for (int i = 0; i < value.length; i++) {
      value[i] -= 0.3 * (gradient[i] + 0.01 * value[i]);
    }
    return value;
  }

  @ParameterizedTest
  @MethodSource("backends")
  void descentOfManyIsThatOfEach(String name) {
    try (Backend b = Backends.open(name);
        Scope m = b.scope()) {
      Scalar rate = m.scalar(0.3);
      Scalar kept = m.scalar(0.9);
      Scalar decay = m.scalar(0.01);
      for (DType t : List.of(DType.F32, DType.F64)) {
        for (boolean moving : new boolean[] {false, true}) {
          List<Parameter> one = parameters(m, t);
          List<Parameter> all = parameters(m, t);
          List<double[]> expected = all.stream().map(MathContractTest::descended).toList();
          List<Tensor> oneVelocity = moving ? velocities(m, t) : null;
          List<Tensor> allVelocity = moving ? velocities(m, t) : null;
          Scalar momentum = moving ? kept : null;
          for (int i = 0; i < one.size(); i++) {
            Parameter p = one.get(i);
            Tensor v = moving ? oneVelocity.get(i) : null;
            b.math().sgd(p.value(), p.gradient(), v, rate, momentum, decay);
          }
          b.math().sgd(all, allVelocity, rate, momentum, decay);
          for (int i = 0; i < one.size(); i++) {
            String what = one.get(i) + (moving ? " with velocity" : "");
            double[] value = one.get(i).value().toDoubles();
            assertArrayEquals(value, all.get(i).value().toDoubles(), what);
            if (moving) {
              double[] velocity = oneVelocity.get(i).toDoubles();
              assertArrayEquals(velocity, allVelocity.get(i).toDoubles(), what);
            } else {
              double limit = t == DType.F32 ? 1e-6 : 1e-14;
              assertClose(what, expected.get(i), value, limit);
            }
          }
        }
      }
    }
  }

  /**
   * Parameters of every type, each in the middle of memory that nobody may touch: small ones, large
   * ones among them, some with nothing, some off the alignment of vectors.
   */
  private static final class Many {
    private static final int COUNT = 200;

    final List<Parameter> parameters = new ArrayList<>();
    final List<Tensor> velocities = new ArrayList<>();

    /** Of value, gradient and velocity, one parameter after the other. */
    private final List<Tensor> memory = new ArrayList<>();

    Many(Backend b, Memory m) {
      List<DType> types =
          Stream.of(DType.F32, DType.F64, DType.F16, DType.BF16).filter(b::computes).toList();
      for (int i = 0; i < COUNT; i++) {
        DType t = types.get(i % types.size());
        Tensor value = inside(m, t, i, before(i));
        Tensor gradient = inside(m, t, i, beforeGradient(i));
        parameters.add(new Parameter("p" + i, value, gradient));
        velocities.add(inside(m, t, i, before(i)));
      }
    }

    private static int elements(int i) {
      return i % 50 == 40 ? 0 : i % 21 == 7 ? 2_000 + 31 * i : 1 + 7 * i % 60;
    }

    private static int before(int i) {
      return i / 4 % 2;
    }

    private static int beforeGradient(int i) {
      return i % 5 == 4 ? 1 - before(i) : before(i);
    }

    private Tensor inside(Memory m, DType t, int i, int before) {
      Tensor all = normal(m, Shape.of(before + elements(i) + 3), t, memory.size());
      memory.add(all);
      return all.batch(before, before + elements(i));
    }

    List<double[]> values() {
      return memory.stream().map(Tensor::toDoubles).toList();
    }

    /** What they are after a step at rate 0.3 with decay 0.01. */
    List<double[]> descended(boolean moving) {
      List<double[]> all = values();
      for (int i = 0; i < COUNT; i++) {
        double[] value = all.get(3 * i);
        double[] gradient = all.get(3 * i + 1);
        double[] velocity = all.get(3 * i + 2);
        for (int j = 0; j < elements(i); j++) {
          int at = before(i) + j;
          double kept = moving ? 0.9 * velocity[at] : 0;
          double step = kept + gradient[beforeGradient(i) + j] + 0.01 * value[at];
          value[at] -= 0.3 * step;
          velocity[at] = moving ? step : velocity[at];
        }
      }
      return all;
    }
  }

  /** More than a launch takes where that has an end. */
  @ParameterizedTest
  @MethodSource("backends")
  void descentOfVeryMany(String name) {
    try (Backend b = Backends.open(name)) {
      for (boolean moving : new boolean[] {false, true}) {
        try (Scope m = b.scope()) {
          Scalar rate = m.scalar(0.3);
          Scalar kept = moving ? m.scalar(0.9) : null;
          Scalar decay = m.scalar(0.01);
          Many all = new Many(b, m);
          Many one = new Many(b, m);
          List<double[]> expected = all.descended(moving);
          b.math().sgd(all.parameters, moving ? all.velocities : null, rate, kept, decay);
          for (int i = 0; i < Many.COUNT; i++) {
            Parameter p = one.parameters.get(i);
            Tensor v = moving ? one.velocities.get(i) : null;
            b.math().sgd(p.value(), p.gradient(), v, rate, kept, decay);
          }
          List<double[]> actual = all.values();
          List<double[]> actualOne = one.values();
          for (int i = 0; i < expected.size(); i++) {
            Parameter p = all.parameters.get(i / 3);
            String what = List.of("value", "gradient", "velocity").get(i % 3) + " of " + p;
            double limit = Values.threshold(p.value().dtype());
            assertClose(what, expected.get(i), actual.get(i), limit);
            assertArrayEquals(actualOne.get(i), actual.get(i), what);
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("backends")
  void aRecordedDescentKeepsItsParameters(String name) {
    try (Backend b = Backends.open(name);
        Scope m = b.scope()) {
      Tensor value = m.of(Shape.of(2), 8, 4);
      Tensor gradient = m.of(Shape.of(2), 1, 2);
      List<Parameter> list = new ArrayList<>(List.of(new Parameter("p", value, gradient)));
      Scalar rate = m.scalar(1);
      try (Recording r = b.record(() -> b.math().sgd(list, null, rate, null, null))) {
        list.clear();
        r.replay();
        assertArrayEquals(new float[] {6, 0}, value.toFloats());
        assertThrows(IllegalStateException.class, value::close);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("backends")
  void badDescentsAreNamedAndChangeNothing(String name) {
    try (Backend b = Backends.open(name);
        Scope m = b.scope()) {
      Tensor both = m.of(Shape.of(6, 1), 1, 2, 3, 4, 5, 6);
      Parameter p = new Parameter("p", both.batch(0, 2), both.batch(4, 6));
      Parameter q = new Parameter("q", both.batch(2, 4), both.batch(4, 6));
      Parameter shifted = new Parameter("shifted", both.batch(1, 3), both.batch(4, 6));
      Parameter crossed = new Parameter("crossed", both.batch(4, 6), both.batch(2, 4));
      Parameter narrow = new Parameter("narrow", both.batch(0, 2), both.batch(4, 5));
      Tensor v = m.zeros(Shape.of(2, 1), DType.F32);
      Scalar s = m.scalar(1);
      fails("overlaps", () -> b.math().sgd(List.of(p, shifted), null, s, null, null), "shifted");
      fails("overlaps", () -> b.math().sgd(List.of(p, p), null, s, null, null), "p");
      fails("overlaps", () -> b.math().sgd(List.of(q, crossed), null, s, null, null), "crossed");
      fails("overlaps", () -> b.math().sgd(List.of(crossed, p), null, s, null, null), "crossed");
      fails("overlaps", () -> b.math().sgd(List.of(p, q), List.of(v, v), s, s, null), "q");
      fails("agree", () -> b.math().sgd(List.of(q, narrow), null, s, null, null), "narrow");
      fails("1 velocities", () -> b.math().sgd(List.of(p, q), List.of(v), s, s, null), "2");
      fails("come together", () -> b.math().sgd(List.of(p), null, s, s, null), "momentum");
      fails("come together", () -> b.math().sgd(List.of(p), List.of(v), s, null, null), "momentum");
      fails("is missing", () -> b.math().sgd(null, null, s, null, null), "parameters");
      fails("is missing", () -> b.math().sgd(Arrays.asList(p, null), null, s, null, null), "");
      fails("is missing", () -> b.math().sgd(List.of(p), null, null, null, null), "learning rate");
      assertArrayEquals(new float[] {1, 2, 3, 4, 5, 6}, both.toFloats());
      assertArrayEquals(new float[2], v.toFloats());
      b.math().sgd(List.of(), null, s, null, null);
    }
  }

  /** Layers with their batch: small, wide, of one row, of none. */
  private static final int[][] LAYERS = {
    {60, 100, 100}, {60, 100, 10}, {7, 784, 33}, {300, 70, 90}, {1, 5, 3}, {0, 4, 3}
  };

  @ParameterizedTest
  @MethodSource("backends")
  void gradientsOfALayerAreTheTwoProducts(String name) {
    try (Backend b = Backends.open(name)) {
      for (int[] layer : LAYERS) {
        for (DType t : List.of(DType.F32, DType.F64)) {
          for (Write w : Write.values()) {
            try (Scope m = b.scope()) {
              Tensor dy = normal(m, Shape.of(layer[0], layer[2]), t, 1);
              Tensor x = normal(m, Shape.of(layer[0], layer[1]), t, 2);
              Tensor weight = normal(m, Shape.of(layer[2], layer[1]), t, 3);
              Tensor one = normal(m, weight.shape(), t, 4);
              Tensor two = normal(m, weight.shape(), t, 4);
              Tensor alone = normal(m, weight.shape(), t, 4);
              Tensor dx = m.zeros(x.shape(), t);
              Tensor expected = m.zeros(x.shape(), t);
              b.math().matmul(dy, true, x, false, one, w);
              b.math().matmul(dy, false, weight, false, expected, Write.SET);
              b.math().denseGradients(dy, x, weight, two, w, dx);
              b.math().denseGradients(dy, x, weight, alone, w, null);
              String what = Arrays.toString(layer) + " " + t + " " + w;
              // Sums in another order.
              double limit = (t == DType.F64 ? 2e-16 : 1e-7) * (4 + layer[0] + layer[2]);
              assertClose(what, one.toDoubles(), two.toDoubles(), limit);
              assertClose(what + ", no dx", one.toDoubles(), alone.toDoubles(), limit);
              assertClose(what + ", dx", expected.toDoubles(), dx.toDoubles(), limit);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("backends")
  void badGradientsAreNamedAndChangeNothing(String name) {
    try (Backend b = Backends.open(name);
        Scope m = b.scope()) {
      Tensor dy = m.zeros(Shape.of(2, 3), DType.F32);
      Tensor x = m.zeros(Shape.of(2, 4), DType.F32);
      Tensor w = m.zeros(Shape.of(3, 4), DType.F32);
      Tensor dw = m.of(Shape.of(3, 4), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
      Tensor dx = m.of(Shape.of(2, 4), 1, 1, 1, 1, 1, 1, 1, 1);
      Tensor more = m.zeros(Shape.of(3, 3), DType.F32);
      MathOps math = b.math();
      fails("do not fit", () -> math.denseGradients(more, x, w, dw, Write.SET, dx), "[3, 3]");
      fails("do not fit", () -> math.denseGradients(x, x, w, dw, Write.SET, dx), "[2, 4]");
      fails("do not fit", () -> math.denseGradients(dy, dy, w, dw, Write.SET, null), "[3, 4]");
      fails("agree", () -> math.denseGradients(dy, x, w, more, Write.SET, dx), "dweight");
      fails("agree", () -> math.denseGradients(dy, x, w, dw, Write.SET, dy), "dx");
      fails("apart", () -> math.denseGradients(dy, x, w, w, Write.SET, dx), "dweight");
      fails("apart", () -> math.denseGradients(dy, x, w, dw, Write.SET, x), "dx");
      fails("apart", () -> math.denseGradients(dy, x, w, dw, Write.SET, dw.batch(0, 2)), "dx");
      fails("apart", () -> math.denseGradients(dy, x, w, dw, Write.SET, w.batch(1, 3)), "dx");
      fails("is missing", () -> math.denseGradients(dy, x, w, dw, null, dx), "write");
      fails("is missing", () -> math.denseGradients(dy, x, null, dw, Write.SET, dx), "weight");
      assertEquals(12, Arrays.stream(dw.toDoubles()).sum());
      assertEquals(8, Arrays.stream(dx.toDoubles()).sum());
    }
  }

  private static void fails(String why, Executable call, String what) {
    String text = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertTrue(text.contains(why) && text.contains(what), text);
  }
}
