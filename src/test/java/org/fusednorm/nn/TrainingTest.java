package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Whole training steps. */
class TrainingTest {
  private static final String BACKENDS = "org.fusednorm.testing.EachBackend#names";

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void learnsXor(String name) {
    try (Backend b = Backends.open(name)) {
      Sequential net =
          Sequential.builder()
              .add("dense1", Dense.builder(b, 2, 8, Init.xavierNormal(new Generator(1))).build())
              .add("tanh", Activate.tanh())
              .add("dense2", Dense.builder(b, 8, 2, Init.xavierNormal(new Generator(2))).build())
              .build();
      Tensor x = b.of(Shape.nc(4, 2), 0, 0, 0, 1, 1, 0, 1, 1);
      Tensor labels = b.empty(Shape.of(4), DType.I64).copyFrom(0L, 1L, 1L, 0L);
      Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.3).momentum(0.9).build();
      Nets.Step step = new Nets.Step(net, sgd, x, labels);
      step.run();
      double before = step.loss.loss().toDoubles()[0];
      for (int i = 0; i < 300; i++) {
        step.run();
      }
      double after = step.loss.loss().toDoubles()[0];
      assertTrue(before > 0.5 && after < 0.02, before + " to " + after);

      BoundSequential infer = net.bind(x, Use.INFER, b);
      infer.forward();
      Tensor right = b.empty(Shape.of(1), DType.I64);
      b.math().correct(infer.y(), labels, right, Write.SET);
      assertArrayEquals(new long[] {4}, right.toLongs());
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void recordedStepsEqualEagerOnesAndFollowTheLearningRate(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor table = Nets.gaussian(b, Shape.nc(40, 12), DType.F32, 9);
      Tensor classes = Nets.labels(b, 4, 40, 8);
      Map<String, double[]> eager = train(b, table, classes, false);
      Map<String, double[]> recorded = train(b, table, classes, true);
      assertEquals(eager.keySet(), recorded.keySet());
      eager.forEach((key, v) -> assertArrayEquals(v, recorded.get(key), key));
    }
  }

  private static Map<String, double[]> train(
      Backend b, Tensor table, Tensor classes, boolean record) {
    Sequential net = Nets.sigmoid(b, DType.F32, true, 4, 12, 10, 10, 4);
    Sgd sgd =
        Sgd.builder(b, net.parameters()).learningRate(0.5).momentum(0.9).weightDecay(1e-3).build();
    Tensor rows = b.empty(Shape.of(10), DType.I64);
    Tensor x = b.empty(Shape.nc(10, 12), DType.F32);
    Tensor labels = b.empty(Shape.of(10), DType.I64);
    Nets.Step step = new Nets.Step(net, sgd, x, labels);
    Runnable all =
        () -> {
          b.math().gather(table, rows, 1, x);
          b.math().gather(classes, rows, 1, labels);
          step.run();
        };
    Recording recording = null;
    for (int i = 0; i < 12; i++) {
      long[] batch = new long[10];
      for (int j = 0; j < batch.length; j++) {
        batch[j] = (7 * i + 3 * j) % 40;
      }
      rows.copyFrom(batch);
      sgd.learningRate().set(0.5 / (1 + i));
      sgd.momentum().set(i < 6 ? 0.5 : 0.9);
      if (!record) {
        all.run();
      } else if (recording == null) {
        recording = b.record(all);
      } else {
        recording.replay();
      }
    }
    if (recording != null) {
      List<String> launches = recording.launches();
      assertEquals(1, launches.stream().filter("norm.commit"::equals).count(), launches::toString);
      assertEquals(1, launches.stream().filter("sgd"::equals).count(), launches::toString);
      recording.close();
    }
    Map<String, double[]> values = Nets.values(net.state());
    values.putAll(Nets.values(sgd.state()));
    values.put("loss", step.loss.loss().toDoubles());
    assertEquals(12, values.get("norm1.num_batches_tracked")[0]);
    return values;
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void twoAccumulatedHalvesEqualTheWholeBatch(String name) {
    try (Backend b = Backends.open(name)) {
      Sequential net = Nets.sigmoid(b, DType.F64, false, 6, 5, 7, 3);
      Tensor x = Nets.gaussian(b, Shape.nc(8, 5), DType.F64, 1);
      Tensor labels = Nets.labels(b, 3, 8, 2);
      backward(net, x, labels, Write.SET);
      Map<String, double[]> whole = gradients(net);
      backward(net, x.batch(0, 4), labels.batch(0, 4), Write.SET);
      Map<String, double[]> first = gradients(net);
      backward(net, x.batch(4, 8), labels.batch(4, 8), Write.ADD);
      Map<String, double[]> both = gradients(net);
      for (String key : whole.keySet()) {
        double[] expected = whole.get(key);
        for (int i = 0; i < expected.length; i++) {
          // Each half is a mean over its 4 rows, the whole over 8.
          assertEquals(expected[i], both.get(key)[i] / 2, 1e-13, key + "[" + i + "]");
        }
        assertFalse(java.util.Arrays.equals(first.get(key), both.get(key)), key);
      }
    }
  }

  private static void backward(Sequential net, Tensor x, Tensor labels, Write w) {
    try (BoundSequential bound = net.bind(x, Use.TRAIN, x.backend());
        SoftmaxCrossEntropy loss = SoftmaxCrossEntropy.bind(bound.y(), labels, x.backend())) {
      bound.forward();
      loss.forward();
      bound.backward(loss.dlogits(), w);
    }
  }

  private static Map<String, double[]> gradients(Sequential net) {
    Map<String, double[]> all = new java.util.LinkedHashMap<>();
    for (Parameter p : net.parameters()) {
      all.put(p.name(), p.gradient().toDoubles());
    }
    return all;
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void momentumAndWeightDecayAsByHand(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor value = b.empty(Shape.of(1), DType.F64).copyFrom(2.0);
      Tensor gradient = b.empty(Shape.of(1), DType.F64).copyFrom(0.5);
      List<Parameter> one = List.of(new Parameter("w", value, gradient));
      Sgd sgd = Sgd.builder(b, one).learningRate(0.25).momentum(0.5).weightDecay(0.25).build();
      sgd.step(); // g = 0.5 + 0.25 * 2 = 1, v = 1, w = 2 - 0.25
      assertArrayEquals(new double[] {1.75}, value.toDoubles());
      sgd.step(); // g = 0.9375, v = 0.5 + 0.9375, w = 1.75 - 0.359375
      assertArrayEquals(new double[] {1.390625}, value.toDoubles());
      assertArrayEquals(new double[] {1.4375}, sgd.state().get("w.momentum_buffer").toDoubles());

      value.copyFrom(2.0);
      Sgd plain = Sgd.builder(b, one).learningRate(0.25).build();
      plain.step();
      assertArrayEquals(new double[] {1.875}, value.toDoubles());
      assertTrue(plain.state().isEmpty());
    }
  }

  @ParameterizedTest
  @MethodSource(BACKENDS)
  void inferenceUsesMovingAveragesAndTrainingTheBatch(String name) {
    try (Backend b = Backends.open(name)) {
      Sequential net = Nets.sigmoid(b, DType.F32, true, 4, 6, 5, 5, 3);
      Tensor x = Nets.gaussian(b, Shape.nc(16, 6), DType.F32, 1);
      BoundSequential train = net.bind(x, Use.TRAIN, b);
      BoundSequential infer = net.bind(x, Use.INFER, b);
      train.forward();
      infer.forward();
      float[] byBatch = train.y().toFloats();
      float early = difference(byBatch, infer.y().toFloats());
      assertTrue(early > 1e-2, "one batch at weight 0.1 leaves averages near 0 and 1: " + early);
      Map<String, double[]> before = Nets.values(net.state());
      infer.forward();
      Nets.values(net.state()).forEach((k, v) -> assertArrayEquals(before.get(k), v, k));
      for (int i = 0; i < 200; i++) {
        train.forward();
      }
      infer.forward();
      // The averages hold the batch's mean and unbiased variance now: a factor of sqrt(15/16) off.
      float late = difference(byBatch, infer.y().toFloats());
      assertTrue(late < 0.1 * early && late > 0, early + " to " + late);
    }
  }

  private static float difference(float[] a, float[] b) {
    float d = 0;
    for (int i = 0; i < a.length; i++) {
      d = Math.max(d, Math.abs(a[i] - b[i]));
    }
    return d;
  }
}
