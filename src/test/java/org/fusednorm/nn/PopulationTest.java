package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Population statistics of the paper's Alg. 2. */
class PopulationTest {
  private static final String BACKENDS = "org.fusednorm.testing.EachBackend#names";

  /** Two norms one after another: the second must see what the first makes of each batch. */
  @ParameterizedTest
  @MethodSource(BACKENDS)
  void statisticsAsByHand(String name) {
    try (Backend b = Backends.open(name)) {
      Sequential net =
          Sequential.builder()
              .add("first", new Normalize(BatchNorm.builder(b, 1).dtype(DType.F64).eps(0)))
              .add("second", new Normalize(BatchNorm.builder(b, 1).dtype(DType.F64).eps(0)))
              .build();
      net.state().get("first.weight").copyFrom(3.0);
      net.state().get("first.bias").copyFrom(10.0);
      Sequential population = net.population(b);
      Tensor x = b.empty(Shape.nc(4, 1), DType.F64);
      BoundSequential collect = population.bind(x, Use.TRAIN, b);
      x.copyFrom(1.0, 1.0, 3.0, 3.0); // mean 2, biased variance 1
      collect.forward();
      x.copyFrom(0.0, 0.0, 6.0, 6.0); // mean 3, biased variance 9
      collect.forward();

      Map<String, Tensor> s = population.state();
      assertArrayEquals(new double[] {2.5}, s.get("first.running_mean").toDoubles(), 1e-15);
      assertArrayEquals(new double[] {4 / 3.0 * 5}, s.get("first.running_var").toDoubles(), 1e-14);
      // By batch statistics every batch leaves the first layer as 10 +- 3.
      assertArrayEquals(new double[] {10}, s.get("second.running_mean").toDoubles(), 1e-14);
      assertArrayEquals(new double[] {4 / 3.0 * 9}, s.get("second.running_var").toDoubles(), 1e-13);
      assertArrayEquals(new long[] {2}, s.get("second.num_batches_tracked").toLongs());

      Tensor one = b.empty(Shape.nc(1, 1), DType.F64).copyFrom(4.5);
      BoundSequential infer = population.bind(one, Use.INFER, b);
      infer.forward();
      double first = 10 + 3 * (4.5 - 2.5) / Math.sqrt(20 / 3.0);
      double second = (first - 10) / Math.sqrt(12);
      assertArrayEquals(new double[] {first}, infer.child("first").y().toDoubles(), 1e-14);
      assertArrayEquals(new double[] {second}, infer.y().toDoubles(), 1e-14);

      Map<String, Tensor> own = net.state();
      assertArrayEquals(new double[] {0}, own.get("first.running_mean").toDoubles());
      assertArrayEquals(new double[] {1}, own.get("second.running_var").toDoubles());
      assertArrayEquals(new long[] {0}, own.get("first.num_batches_tracked").toLongs());

      population.resetStatistics();
      collect.forward();
      assertArrayEquals(new double[] {3}, s.get("first.running_mean").toDoubles(), 1e-15);
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void trainingGoesOnAsIfNothingHadBeenCollected(String name) {
    try (Backend b = Backends.open(name)) {
      Map<String, double[]> plain = train(b, false);
      Map<String, double[]> collected = train(b, true);
      plain.forEach((key, v) -> assertArrayEquals(v, collected.get(key), key));
    }
  }

  private static Map<String, double[]> train(Backend b, boolean collecting) {
    Sequential net = Nets.sigmoid(b, DType.F32, true, 3, 6, 5, 5, 3);
    Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.5).build();
    Tensor x = Nets.gaussian(b, Shape.nc(12, 6), DType.F32, 1);
    Nets.Step step = new Nets.Step(net, sgd, x, Nets.labels(b, 3, 12, 2));
    try (Recording recording = b.record(step::run)) {
      recording.replay();
      if (collecting) {
        Sequential population = net.population(b);
        BoundSequential collect = population.bind(x, Use.TRAIN, b);
        try (Recording forward = b.record(collect::forward)) {
          forward.replay();
          forward.replay();
        }
        assertEquals(3, population.state().get("norm1.num_batches_tracked").toLongs()[0]);
        assertFalse(
            Arrays.equals(
                population.state().get("norm1.running_mean").toDoubles(),
                net.state().get("norm1.running_mean").toDoubles()));
      }
      recording.replay();
    }
    Map<String, double[]> all = new LinkedHashMap<>(Nets.values(net.state()));
    all.put("logits", step.net.y().toDoubles());
    return all;
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void closingThePopulationLeavesTheNetwork(String name) {
    try (Backend b = Backends.open(name)) {
      Sequential inner =
          Sequential.builder().add("norm", new Normalize(BatchNorm.builder(b, 2))).build();
      Init init = Init.he(new Generator(1));
      Sequential net =
          Sequential.builder()
              .add("dense", Dense.builder(b, 3, 2, init).build())
              .add("inner", inner)
              .build();
      long before = b.memory().bytesInUse();
      Sequential population = net.population(b);
      assertNotSame(inner, population.children().get("inner"));
      assertEquals(List.copyOf(net.state().keySet()), List.copyOf(population.state().keySet()));
      assertTrue(b.memory().bytesInUse() > before);
      population.close();
      assertEquals(before, b.memory().bytesInUse());

      Tensor x = Nets.gaussian(b, Shape.nc(4, 3), DType.F32, 1);
      BoundSequential bound = net.bind(x, Use.TRAIN, b);
      bound.forward();
      bound.backward(bound.y(), Write.SET);
      assertEquals(1, net.state().get("inner.norm.num_batches_tracked").toLongs()[0]);
      bound.close();
      x.close();
      net.close();
      assertEquals(0, b.memory().bytesInUse());
    }
  }
}
