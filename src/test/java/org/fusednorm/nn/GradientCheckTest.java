package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.testing.EachBackend;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Every layer against finite differences, and the check itself against planted errors. */
class GradientCheckTest {
  private static final double LIMIT = 1e-6;

  /** Makes the layers before a last dense one, for 5 values per example. */
  private interface Making {
    void add(Sequential.Builder net, Backend b, Init init);
  }

  private record Case(String name, Making making) {
    @Override
    public String toString() {
      return name;
    }
  }

  static Stream<Arguments> layers() {
    List<Case> cases =
        List.of(
            new Case("dense", (net, b, init) -> net.add("dense", dense(b, init, true))),
            new Case("no bias", (net, b, init) -> net.add("dense", dense(b, init, false))),
            new Case("sigmoid", (net, b, init) -> net.add("f", Activate.sigmoid())),
            new Case("tanh", (net, b, init) -> net.add("f", Activate.tanh())),
            new Case("relu", (net, b, init) -> net.add("f", Activate.relu())),
            new Case("norm", (net, b, init) -> net.add("norm", new Normalize(norm(b)))),
            new Case(
                "norm with relu",
                (net, b, init) ->
                    net.add("norm", new Normalize(norm(b).activation(Activation.RELU)))),
            new Case(
                "norm, shift only",
                (net, b, init) -> net.add("norm", new Normalize(norm(b).scale(false)))),
            new Case(
                "nested",
                (net, b, init) ->
                    net.add(
                        "block",
                        Sequential.builder()
                            .add("norm", new Normalize(norm(b)))
                            .add("tanh", Activate.tanh())
                            .add("dense", dense(b, init, true))
                            .build())));
    return EachBackend.names().flatMap(b -> cases.stream().map(c -> Arguments.of(b, c)));
  }

  private static Dense dense(Backend b, Init init, boolean bias) {
    return Dense.builder(b, 5, 5, init).dtype(DType.F64).bias(bias).build();
  }

  private static BatchNorm.Builder norm(Backend b) {
    return BatchNorm.builder(b, 5).dtype(DType.F64).eps(1e-3);
  }

  @ParameterizedTest
  @MethodSource("layers")
  void layerAgreesWithDifferences(String name, Case c) {
    try (Backend b = Backends.open(name)) {
      Generator g = new Generator(3);
      Init init = Init.xavierNormal(g);
      Sequential.Builder net = Sequential.builder();
      c.making().add(net, b, init);
      net.add("last", Dense.builder(b, 5, 3, init).dtype(DType.F64).build());
      check(b, net.build(), Shape.nc(7, 5), 3);
    }
  }

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void normOfImagesAgreesWithDifferences(String name) {
    try (Backend b = Backends.open(name)) {
      Init init = Init.he(new Generator(5));
      Sequential net =
          Sequential.builder()
              .add("norm", new Normalize(norm(b)))
              .add("dense", Dense.builder(b, 5 * 2 * 3, 4, init).dtype(DType.F64).build())
              .build();
      check(b, net, Shape.nchw(3, 5, 2, 3), 4);
    }
  }

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void sigmoidNetworkWithBatchNormAgreesWithDifferences(String name) {
    try (Backend b = Backends.open(name)) {
      check(b, Nets.sigmoid(b, DType.F64, true, 11, 6, 5, 5, 5, 4), Shape.nc(9, 6), 4);
    }
  }

  private static void check(Backend b, Sequential net, Shape input, int classes) {
    // Values other than 0 and 1 show a gradient that is right only for these.
    long seed = 100;
    for (Parameter p : net.parameters()) {
      double[] v = p.value().toDoubles();
      double[] noise = Nets.gaussian(v.length, seed++);
      for (int i = 0; i < v.length; i++) {
        v[i] += 0.3 * noise[i];
      }
      p.value().copyFrom(v);
    }
    Tensor x = Nets.gaussian(b, input, DType.F64, 1);
    Tensor dx = b.empty(input, DType.F64);
    BoundSequential bound = net.bind(x, dx, Use.TRAIN, b);
    SoftmaxCrossEntropy loss =
        SoftmaxCrossEntropy.bind(bound.y(), Nets.labels(b, classes, (int) input.batch(), 2), b);
    List<Parameter> all = new ArrayList<>(net.parameters());
    all.add(new Parameter("x", x, dx));
    var results =
        GradientCheck.run(
            () -> {
              bound.forward();
              loss.forward();
            },
            () -> bound.backward(loss.dlogits(), Write.SET),
            loss.loss(),
            all);
    assertEquals(all.size(), results.size());
    for (GradientCheck.Worst w : results) {
      assertTrue(w.error() < LIMIT, w::toString);
    }
  }

  @Test
  void wrongElementIsFoundAndValuesAreRestored() {
    try (Backend b = Backends.open("reference")) {
      Tensor v = b.empty(Shape.of(3), DType.F64).copyFrom(1.0, -2.0, 0.5);
      Tensor gradient = b.empty(Shape.of(3), DType.F64);
      Tensor loss = b.empty(Shape.of(), DType.F64);
      Runnable forward = () -> b.math().squaredNorm(v, loss, Write.SET);
      List<Parameter> one = List.of(new Parameter("v", v, gradient));

      var right =
          GradientCheck.run(forward, () -> gradient.copyFrom(2.0, -4.0, 1.0), loss, one).get(0);
      assertTrue(right.error() < 1e-9, right::toString);

      var wrong =
          GradientCheck.run(forward, () -> gradient.copyFrom(2.0, -4.01, 1.0), loss, one).get(0);
      assertEquals(1, wrong.index());
      assertEquals(0.01 / 4.01, wrong.error(), 1e-6);

      var none =
          GradientCheck.run(forward, () -> gradient.copyFrom(2, -4, Double.NaN), loss, one).get(0);
      assertEquals(2, none.index());
      assertTrue(Double.isNaN(none.error()));
      assertArrayEquals(new double[] {1, -2, 0.5}, v.toDoubles());
    }
  }

  @Test
  void singlePrecisionIsRefused() {
    try (Backend b = Backends.open("reference")) {
      Tensor v = b.zeros(Shape.of(1), DType.F32);
      var e =
          assertThrows(
              IllegalArgumentException.class,
              () -> GradientCheck.run(() -> {}, () -> {}, v, List.of(new Parameter("w", v, v))));
      assertTrue(e.getMessage().startsWith("w [1] F32"), e::getMessage);
    }
  }
}
