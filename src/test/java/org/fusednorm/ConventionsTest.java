package org.fusednorm;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.fusednorm.testing.EachBackend;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What package-info promises of normalization, on every backend. */
class ConventionsTest {
  private static final String EACH = "org.fusednorm.testing.EachBackend#names";
  private static final List<Shape> LAYOUTS =
      List.of(Shape.nc(24, 3), Shape.nchw(4, 3, 2, 3), Shape.nhwc(4, 2, 3, 3));

  static Stream<Arguments> layouts() {
    return EachBackend.names().flatMap(n -> LAYOUTS.stream().map(s -> Arguments.of(n, s)));
  }

  static Stream<Arguments> types() {
    return layouts()
        .flatMap(
            a ->
                Stream.of(DType.F32, DType.F16, DType.BF16, DType.F64)
                    .map(t -> Arguments.of(a.get()[0], a.get()[1], t)));
  }

  /** Index of value {@code i} of channel {@code c}. */
  private static int at(Shape s, int c, int i) {
    long inner = s.inner();
    return (int) ((i / inner * s.channels() + c) * inner + i % inner);
  }

  @ParameterizedTest
  @MethodSource("types")
  void aConstantChannelGivesExactlyBeta(String name, Shape s, DType t) {
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 3).dtype(t).build()) {
      double[] x = normal(t, 1, (int) s.elements(), 0, 1);
      double constant = org.fusednorm.testing.Values.round(t, 1e4 / 3);
      for (int i = 0; i < 24; i++) {
        x[at(s, 1, i)] = constant;
      }
      bn.affine().beta().copyFrom(0, 0.3, 0);
      double beta = org.fusednorm.testing.Values.round(t, bn.affine().beta().toDoubles()[1]);
      Tensor tx = tensor(b, s, t, x);
      Tensor y = b.empty(s, t);
      Pass p = bn.forward(tx, y);
      Tensor dx = b.empty(s, t);
      bn.backward(p, tensor(b, s, t, normal(t, 2, (int) s.elements(), 0, 1)), dx, Write.SET);
      double[] got = y.toDoubles();
      double[] gradient = dx.toDoubles();
      for (int i = 0; i < 24; i++) {
        assertEquals(beta, got[at(s, 1, i)], "value " + i);
        assertTrue(Double.isFinite(gradient[at(s, 1, i)]));
      }
      assertEquals(0, p.saved().variance().toDoubles()[1]);
      assertEquals(constant, p.saved().mean().toDoubles()[1]);
      p.close();
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void notANumberStaysInItsChannel(String name, Shape s, DType t) {
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 3).dtype(t).activation(Activation.RELU).build()) {
      for (double bad : new double[] {Double.NaN, Double.POSITIVE_INFINITY}) {
        double[] x = normal(t, 1, (int) s.elements(), 0, 1);
        Tensor y = b.empty(s, t);
        Tensor dx = b.empty(s, t);
        Tensor dy = tensor(b, s, t, normal(t, 2, (int) s.elements(), 0, 1));
        Pass p = bn.forward(tensor(b, s, t, x), y);
        bn.backward(p, dy, dx, Write.SET);
        final double[] cleanY = y.toDoubles();
        final double[] cleanDx = dx.toDoubles();
        x[at(s, 1, 5)] = bad;
        bn.forward(p, tensor(b, s, t, x), y);
        bn.backward(p, dy, dx, Write.SET);
        final double[] gotY = y.toDoubles();
        final double[] gotDx = dx.toDoubles();
        for (int i = 0; i < 24; i++) {
          assertTrue(Double.isNaN(gotY[at(s, 1, i)]), "relu keeps NaN at " + i);
          for (int c = 0; c < 3; c += 2) {
            assertEquals(cleanY[at(s, c, i)], gotY[at(s, c, i)]);
            assertEquals(cleanDx[at(s, c, i)], gotDx[at(s, c, i)]);
          }
        }
        p.close();
      }
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void anEmptyBatchChangesNothing(String name, Shape s, DType t) {
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 3).dtype(t).build()) {
      Tensor x = b.empty(s.withBatch(0), t);
      Tensor y = b.empty(s.withBatch(0), t);
      bn.gradients().gamma().copyFrom(7, 7, 7);
      Pass p = bn.forward(x, y);
      bn.backward(p, y, y, Write.SET);
      assertEquals(0, p.saved().count().toLongs()[0]);
      assertArrayEquals(new double[3], bn.gradients().gamma().toDoubles());
      assertArrayEquals(new double[3], bn.gradients().beta().toDoubles());
      assertArrayEquals(new double[3], bn.running().mean().toDoubles());
      assertArrayEquals(new double[] {1, 1, 1}, bn.running().variance().toDoubles());
      assertEquals(0, bn.running().count().toLongs()[0]);
      bn.infer(x, y);
      Moments m = Moments.empty(b, 3);
      b.norm().moments(x, m);
      assertArrayEquals(new double[7], m.packed().toDoubles());
      p.close();
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void oneValuePerChannelCannotBeTrainedOn(String name) {
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 3).build()) {
      for (Shape s : List.of(Shape.nc(1, 3), Shape.nchw(1, 3, 1, 1), Shape.nhwc(1, 1, 1, 3))) {
        Tensor x = b.of(s, 1, 2, 3);
        Tensor y = b.empty(s, DType.F32);
        assertMessage("more than one value per channel", () -> bn.forward(x, y).close());
        bn.infer(x, y);
        assertClose("inference works", new double[] {1, 2, 3}, y.toDoubles(), 1e-5);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("layouts")
  void meansFarFromZeroCostNothing(String name, Shape s) {
    try (Backend b = Backends.open(name);
        Backend reference = Backends.open("reference")) {
      int n = (int) s.elements();
      double[][] inputs = {
        normal(DType.F32, 1, n, 1e4, 1),
        normal(DType.F32, 2, n, 1e6, 0.1),
        normal(DType.F32, 3, n, 0, 1e19),
        normal(DType.F32, 4, n, 0, 1e-40)
      };
      for (double[] x : inputs) {
        assertClose("x around " + x[0], forward(reference, s, x), forward(b, s, x), 2e-6);
      }
    }
  }

  private static double[] forward(Backend b, Shape s, double[] x) {
    try (Scope m = b.scope();
        BatchNorm bn = BatchNorm.builder(m, s.channels()).build()) {
      Tensor y = m.empty(s, DType.F32);
      bn.forward(tensor(m, s, DType.F32, x), y).close();
      return y.toDoubles();
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void theReluMaskIsTheForwards(String name) {
    // Values so close to the threshold that any other rounding of mean or scale flips signs.
    Shape s = Shape.nc(4096, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).activation(Activation.RELU).build()) {
      double[] x = normal(DType.F32, 7, 8192, 1e6, 0.1);
      Tensor y = b.empty(s, DType.F32);
      Tensor dx = b.empty(s, DType.F32);
      double[] ones = new double[8192];
      Arrays.fill(ones, 1);
      Pass p = bn.forward(tensor(b, s, DType.F32, x), y);
      bn.affine().gamma().copyFrom(-1, -1);
      bn.backward(p, tensor(b, s, DType.F32, ones), dx, Write.SET);
      long positive0 = 0;
      long positive1 = 0;
      double[] got = y.toDoubles();
      for (int i = 0; i < 8192; i += 2) {
        positive0 += got[i] > 0 ? 1 : 0;
        positive1 += got[i + 1] > 0 ? 1 : 0;
      }
      assertArrayEquals(new double[] {positive0, positive1}, bn.gradients().beta().toDoubles());
      p.close();
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void inPlaceGivesTheSameBits(String name, Shape s, DType t) {
    int n = (int) s.elements();
    double[] x = normal(t, 1, n, 0.3, 1);
    double[] dy = normal(t, 2, n, 0, 1);
    try (Backend b = Backends.open(name);
        BatchNorm bn =
            BatchNorm.builder(b, 3).dtype(t).activation(Activation.RELU).residual(true).build()) {
      Tensor tx = tensor(b, s, t, x);
      Tensor tdy = tensor(b, s, t, dy);
      Tensor r = tensor(b, s, t, normal(t, 3, n, 0, 1));
      Tensor y = b.empty(s, t);
      Tensor dx = b.empty(s, t);
      Tensor dr = b.empty(s, t);
      Pass p = bn.pass(b, s, t);
      bn.forward(p, tx, r, y);
      bn.backward(p, 1, tdy, dx, dr, Write.SET);
      final double[] expectedY = y.toDoubles();
      final double[] expectedDx = dx.toDoubles();
      final double[] expectedDr = dr.toDoubles();

      Tensor over = b.empty(s, t).copyFrom(tdy);
      bn.backward(p, 1, over, over, dr, Write.SET);
      assertArrayEquals(expectedDx, over.toDoubles(), "dx == dy");
      over.copyFrom(tdy);
      bn.backward(p, 1, over, dx, over, Write.SET);
      assertArrayEquals(expectedDx, dx.toDoubles(), "dx beside dResidual == dy");
      assertArrayEquals(expectedDr, over.toDoubles(), "dResidual == dy");
      Tensor sum = b.empty(s, t).copyFrom(r);
      bn.forward(p, tx, sum, sum);
      assertArrayEquals(expectedY, sum.toDoubles(), "y == residual");
      bn.backward(p, 2, tdy, tx, dr, Write.SET);
      assertArrayEquals(expectedDx, tx.toDoubles(), "dx == x");
      String emptied =
          assertThrows(IllegalStateException.class, () -> bn.backward(p, 2, tdy, dx, dr, Write.SET))
              .getMessage();
      assertTrue(emptied.contains("emptied"), emptied);
      Tensor inPlace = tensor(b, s, t, x);
      bn.infer(inPlace, r, inPlace);
      bn.infer(tensor(b, s, t, x), r, y);
      assertArrayEquals(y.toDoubles(), inPlace.toDoubles(), "infer y == x");
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void forbiddenAliasingIsRefused(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).build();
        BatchNorm res = BatchNorm.builder(b, 2).residual(true).build()) {
      Tensor big = b.zeros(Shape.nc(6, 2), DType.F32);
      Tensor x = big.batch(0, 4);
      Tensor shifted = big.batch(1, 5);
      Tensor other = b.zeros(s, DType.F32);
      Pass p = bn.pass(b, s, DType.F32);
      assertMessage("y", () -> bn.forward(p, x, x));
      assertMessage("overlaps", () -> bn.forward(p, x, shifted));
      assertMessage("overlaps", () -> bn.infer(x, shifted));
      bn.forward(p, x, other);
      assertMessage("overlaps", () -> bn.backward(p, other, shifted, Write.SET));
      assertMessage("overlaps", () -> bn.backward(p, shifted, other, Write.SET));
      Pass q = res.pass(b, s, DType.F32);
      Tensor dy = b.zeros(s, DType.F32);
      Tensor dx = b.zeros(s, DType.F32);
      res.forward(q, x, dy, other);
      assertMessage("overlaps", () -> res.backward(q, 1, dy, dx, dx, Write.SET));
      assertMessage("overlaps", () -> res.forward(q, x, shifted, big.batch(2, 6)));
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void wrongArgumentsAreNamed(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).build()) {
      Tensor x = b.zeros(s, DType.F32);
      Tensor y = b.zeros(s, DType.F32);
      Pass p = bn.pass(b, s, DType.F32);
      Saved saved = Saved.empty(b, s, DType.F32, false);
      assertMessage("[3, 2] NC", () -> bn.forward(p, b.zeros(Shape.nc(3, 2), DType.F32), y));
      assertMessage("F16", () -> bn.forward(p, x, b.zeros(s, DType.F16)));
      assertMessage("[4, 3] NC", () -> bn.pass(b, Shape.nc(4, 3), DType.F32));
      assertMessage("I32", () -> bn.pass(b, s, DType.I32));
      assertMessage("without residual", () -> bn.forward(p, x, y, b.zeros(s, DType.F32)));
      assertMessage("momentum", () -> BatchNorm.builder(b, 2).momentum(1.5));
      assertMessage("-1.0E-5", () -> BatchNorm.builder(b, 2).eps(-1e-5));
      assertMessage("NaN", () -> BatchNorm.builder(b, 2).eps(Double.NaN));
      assertMessage("0", () -> BatchNorm.builder(b, 0));
      assertMessage("U8", () -> BatchNorm.builder(b, 2).dtype(DType.U8));
      NormOps norm = b.norm();
      Affine wrong = new Affine(b.zeros(Shape.of(3), DType.F32), null);
      assertMessage(
          "gamma must be [2] F32, not [3] F32",
          () -> norm.forward(x, wrong, 1e-5, Activation.NONE, null, saved, y));
      assertMessage(
          "needs a saved state with a gate",
          () -> norm.forward(x, Affine.NONE, 1e-5, Activation.RELU, y, saved, y));
      assertMessage(
          "no channel axis",
          () -> norm.moments(b.zeros(Shape.of(4, 2), DType.F32), Moments.empty(b, 2)));
      assertMessage("3 channels", () -> norm.moments(x, Moments.empty(b, 3)));
      assertMessage(
          "parts", () -> norm.merge(b.zeros(Shape.of(5), DType.F64), 0, Moments.empty(b, 2)));
      assertMessage(
          "F64", () -> norm.merge(b.zeros(Shape.of(5), DType.F32), 1, Moments.empty(b, 2)));
      assertThrows(
          IllegalStateException.class, () -> bn.backward(p, y, y, Write.SET), "no forward yet");
      assertMessage("another layer", () -> BatchNorm.builder(b, 2).build().forward(p, x, y));
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void anOverwrittenPassIsNoticed(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).build()) {
      Tensor x = b.of(s, 1, 2, 3, 4, 5, 6, 7, 9);
      Tensor y = b.empty(s, DType.F32);
      Pass p = bn.forward(x, y);
      long first = p.generation();
      bn.forward(p, x, y);
      String text =
          assertThrows(
                  IllegalStateException.class, () -> bn.backward(p, first, y, y, null, Write.SET))
              .getMessage();
      assertTrue(text.contains("overwritten"), text);
      bn.backward(p, p.generation(), y, y, null, Write.SET);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void runningStatisticsFollowTheMomentum(String name) {
    Shape s = Shape.nc(4, 1);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 1).deferCommit(true).build();
        BatchNorm average = BatchNorm.builder(b, 1).cumulative().build();
        BatchNorm keras = BatchNorm.builder(b, 1).profile(Profile.KERAS).momentum(0.75).build()) {
      Tensor y = b.empty(s, DType.F32);
      Tensor x1 = b.of(s, 1, 2, 3, 6);
      Tensor x2 = b.of(s, 0, 0, 0, 4);
      Pass p = bn.forward(x1, y);
      bn.forward(p, x1, y);
      bn.recompute(p, y);
      assertEquals(0, bn.running().mean().toDoubles()[0], "deferred");
      bn.commit(p);
      assertClose("mean", new double[] {0.3}, bn.running().mean().toDoubles(), 1e-15);
      double unbiased = 14.0 / 3;
      assertClose(
          "variance",
          new double[] {0.9 + 0.1 * unbiased},
          bn.running().variance().toDoubles(),
          1e-15);
      assertEquals(1, bn.running().count().toLongs()[0]);

      average.forward(x1, y).close();
      average.forward(x2, y).close();
      assertClose("E[mean]", new double[] {2}, average.running().mean().toDoubles(), 1e-15);
      assertClose(
          "E[var]",
          new double[] {(unbiased + 4) / 2},
          average.running().variance().toDoubles(),
          1e-15);

      keras.forward(x1, y).close();
      assertClose("mean", new double[] {0.75}, keras.running().mean().toDoubles(), 1e-15);
      assertClose(
          "biased variance",
          new double[] {0.75 + 0.25 * 3.5},
          keras.running().variance().toDoubles(),
          1e-15);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void scaleAndShiftAreSwitchedSeparately(String name) {
    Shape s = Shape.nc(4, 1);
    try (Backend b = Backends.open(name);
        BatchNorm both = BatchNorm.builder(b, 1).build();
        BatchNorm scale = BatchNorm.builder(b, 1).shift(false).build();
        BatchNorm shift = BatchNorm.builder(b, 1).scale(false).build();
        BatchNorm none = BatchNorm.builder(b, 1).scale(false).shift(false).build()) {
      assertEquals(List.of("weight", "bias"), names(both));
      assertEquals(List.of("weight"), names(scale));
      assertEquals(List.of("bias"), names(shift));
      assertEquals(List.of(), names(none));
      scale.affine().gamma().copyFrom(2f);
      shift.affine().beta().copyFrom(3f);
      Tensor x = b.of(s, 1, 2, 3, 6);
      Tensor y = b.empty(s, DType.F32);
      none.forward(x, y).close();
      double[] xhat = y.toDoubles();
      scale.forward(x, y).close();
      assertClose("gamma xhat", map(xhat, 2, 0), y.toDoubles(), 1e-6);
      shift.forward(x, y).close();
      assertClose("xhat + beta", map(xhat, 1, 3), y.toDoubles(), 1e-6);
    }
  }

  private static List<String> names(BatchNorm bn) {
    return bn.parameters().stream().map(Parameter::name).toList();
  }

  private static double[] map(double[] v, double a, double b) {
    return Arrays.stream(v).map(e -> a * e + b).toArray();
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void stateMovesBetweenLayersBackendsAndNames(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        Backend other = Backends.open("reference");
        BatchNorm from = BatchNorm.builder(b, 2).build();
        BatchNorm to = BatchNorm.builder(other, 2).build()) {
      from.forward(b.of(s, 1, 2, 3, 4, 5, 6, 7, 9), b.empty(s, DType.F32)).close();
      Map<String, Tensor> state = from.state(Profile.PYTORCH);
      assertEquals(
          List.of("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
          List.copyOf(state.keySet()));
      to.load(state, Profile.PYTORCH);
      for (Map.Entry<String, Tensor> e : to.state(Profile.PYTORCH).entrySet()) {
        assertArrayEquals(state.get(e.getKey()).toDoubles(), e.getValue().toDoubles());
      }
      assertEquals(
          List.of("gamma", "beta", "moving_mean", "moving_variance"),
          List.copyOf(from.state(Profile.KERAS).keySet()));
      assertMessage("gamma", () -> to.load(from.state(Profile.KERAS), Profile.PYTORCH));
      assertMessage("missing", () -> to.load(Map.of(), Profile.DJL));
      Map<String, Tensor> three =
          Map.of(
              "gamma",
              b.zeros(Shape.of(3), DType.F32),
              "beta",
              state.get("bias"),
              "runningMean",
              state.get("running_mean"),
              "runningVar",
              state.get("running_var"));
      assertMessage("[3] F32", () -> to.load(three, Profile.DJL));
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void aSecondTrainingThreadIsDetectedAndInferenceIsShared(String name) throws Exception {
    Shape s = Shape.nc(256, 64);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 64).build()) {
      Tensor x = tensor(b, s, DType.F32, normal(DType.F32, 1, 256 * 64, 0, 1));
      Pass p = bn.pass(b, s, DType.F32);
      bn.training().enter();
      Thread t =
          new Thread(
              () ->
                  assertThrows(
                      IllegalStateException.class, () -> bn.forward(p, x, b.empty(s, DType.F32))));
      Throwable[] failed = new Throwable[1];
      t.setUncaughtExceptionHandler((thread, e) -> failed[0] = e);
      t.start();
      t.join();
      assertEquals(null, failed[0]);
      bn.training().leave();

      Tensor expected = b.empty(s, DType.F32);
      bn.infer(x, expected);
      float[] values = expected.toFloats();
      CountDownLatch ready = new CountDownLatch(4);
      Thread[] threads = new Thread[4];
      for (int i = 0; i < 4; i++) {
        threads[i] =
            new Thread(
                () -> {
                  Tensor y = b.empty(s, DType.F32);
                  ready.countDown();
                  for (int k = 0; k < 50; k++) {
                    y.fillZero();
                    bn.infer(x, y);
                    assertArrayEquals(values, y.toFloats());
                  }
                });
        threads[i].setUncaughtExceptionHandler((thread, e) -> failed[0] = e);
        threads[i].start();
      }
      for (Thread each : threads) {
        each.join();
      }
      assertEquals(null, failed[0]);
    }
  }

  @ParameterizedTest
  @MethodSource("types")
  void aConstantChannelIsBetaEvenWithEpsZero(String name, Shape s, DType t) {
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 3).dtype(t).eps(0).build()) {
      double[] x = normal(t, 1, (int) s.elements(), 0, 1);
      for (int i = 0; i < 24; i++) {
        x[at(s, 1, i)] = 1.5;
      }
      bn.affine().beta().copyFrom(0, 0.25, 0);
      Tensor y = b.empty(s, t);
      Tensor dx = b.empty(s, t);
      Pass p = bn.forward(tensor(b, s, t, x), y);
      bn.backward(p, tensor(b, s, t, normal(t, 2, (int) s.elements(), 0, 1)), dx, Write.SET);
      double[] trained = y.toDoubles();
      double[] gradient = dx.toDoubles();
      bn.running().mean().copyFrom(0, 1.5, 0);
      bn.running().variance().copyFrom(1, 0, 1);
      bn.infer(tensor(b, s, t, x), y);
      double[] inferred = y.toDoubles();
      for (int i = 0; i < 24; i++) {
        assertEquals(0.25, trained[at(s, 1, i)], "trained, value " + i);
        assertEquals(0.25, inferred[at(s, 1, i)], "inferred, value " + i);
        assertEquals(0, Math.abs(gradient[at(s, 1, i)]), "gradient of value " + i);
        assertTrue(Math.abs(trained[at(s, 0, i)]) > 0, "the other channels go on as ever");
      }
      p.close();
    }
  }

  private static void assertMessage(String part, Runnable r) {
    String text = assertThrows(IllegalArgumentException.class, r::run).getMessage();
    assertTrue(text.contains(part), text);
  }
}
