package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.DoubleUnaryOperator;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Pass;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.testing.Values;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** F32 against a two-pass computation in double, at the sizes where naive sums fail. */
class AccuracyTest {
  private static final double EPS = 1e-5;
  private static final int CHANNELS = 2;
  private static final int MANY = 401_408;
  private static final int FEW = 6_272;

  record Case(String input, Shape shape, double limit, DoubleUnaryOperator value) {
    @Override
    public String toString() {
      return input + " " + shape;
    }
  }

  private static double normal(double index) {
    SplittableRandom r = new SplittableRandom((long) index);
    return Math.sqrt(-2 * Math.log(1 - r.nextDouble())) * Math.cos(2 * Math.PI * r.nextDouble());
  }

  private static double uniform(double index) {
    return 2 * new SplittableRandom((long) index).nextDouble() - 1;
  }

  private static List<Shape> shapes(int values) {
    int n = values / 3136;
    return List.of(
        Shape.nc(values, CHANNELS),
        Shape.nchw(n, CHANNELS, 56, 56),
        Shape.nchw(values / 49, CHANNELS, 7, 7),
        Shape.nhwc(n, 56, 56, CHANNELS));
  }

  static Stream<Case> cases() {
    return Stream.concat(
        shapes(MANY).stream()
            .flatMap(
                s ->
                    Stream.of(
                        new Case("N(0, 1)", s, 2e-6, AccuracyTest::normal),
                        new Case("mean 1e4, std 1", s, 2e-6, i -> 1e4 + normal(i)),
                        new Case("mean 1e6, std 0.1", s, 2e-6, i -> 1e6 + 0.1 * normal(i)),
                        new Case("brighter to the end", s, 2e-6, i -> i / 1000 + normal(i)),
                        new Case(
                            "images far apart",
                            s,
                            2e-6,
                            i -> 1e3 * normal(-1 - (long) i / 25_088) + normal(i)))),
        shapes(FEW).stream()
            .flatMap(
                s ->
                    Stream.of(
                        new Case("uniform 3e19", s, 2e-6, i -> 3e19 * uniform(i)),
                        new Case("uniform 3e38", s, 2e-6, i -> 3e38 * uniform(i)),
                        new Case("denormal", s, 2e-6, i -> 1e-40 * uniform(i)),
                        new Case("outlier first", s, 1e-6, i -> i < 2 ? 1e8 : normal(i)),
                        new Case("outlier", s, 1e-6, i -> i == 5000 ? 1e8 : normal(i)))));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithDouble(Case c) {
    int n = (int) c.shape().elements();
    int inner = (int) c.shape().inner();
    double[] x = new double[n];
    Arrays.setAll(x, i -> (float) c.value().applyAsDouble(i));
    double[] mean = new double[CHANNELS];
    double[] variance = new double[CHANNELS];
    double perChannel = n / (double) CHANNELS;
    for (int i = 0; i < n; i++) {
      // About the first value: a plain sum of so many large numbers is too coarse even in double.
      mean[i / inner % CHANNELS] += (x[i] - x[0]) / perChannel;
    }
    for (int c0 = 0; c0 < CHANNELS; c0++) {
      mean[c0] += x[0];
    }
    for (int i = 0; i < n; i++) {
      double d = x[i] - mean[i / inner % CHANNELS];
      variance[i / inner % CHANNELS] += d * d / perChannel;
    }
    double[] expected = new double[n];
    for (int i = 0; i < n; i++) {
      int ch = i / inner % CHANNELS;
      expected[i] = (x[i] - mean[ch]) / Math.sqrt(variance[ch] + EPS);
    }
    try (Backend b = Backends.open("cpu");
        Scope m = b.scope();
        BatchNorm bn = BatchNorm.builder(m, CHANNELS).momentum(1).eps(EPS).build()) {
      Tensor xt = Values.tensor(m, c.shape(), DType.F32, x);
      Tensor y = m.empty(c.shape(), DType.F32);
      Pass pass = bn.pass(m, c.shape(), DType.F32);
      bn.forward(pass, xt, y);
      Values.assertClose("training " + c, expected, y.toDoubles(), c.limit());
      // The running variance is unbiased; inference is compared at the biased one.
      bn.running().variance().copyFrom(variance);
      bn.infer(xt, y);
      Values.assertClose("inference " + c, expected, y.toDoubles(), c.limit());
    }
  }

  /** One channel that F32 lanes cannot hold, and one as usual beside it. */
  static Stream<Case> wideCases() {
    return Stream.of(Shape.nc(640, 2), Shape.nchw(10, 2, 8, 8), Shape.nhwc(10, 8, 8, 2))
        .flatMap(
            s ->
                Stream.of(
                    new Case("one far", s, 2e-6, i -> i % 64 == 7 ? 3e38 : -3e38),
                    new Case("far, center near 0", s, 2e-6, i -> i == 7 ? 3.4e38 : -2e36),
                    new Case("std 1e22", s, 2e-6, i -> 1e22 * normal(i)),
                    new Case("std 1e-20, eps 0", s, 2e-6, i -> 1e-20 * normal(i))));
  }

  @ParameterizedTest
  @MethodSource("wideCases")
  void channelsBeyondTheRangeOfF32AgreeWithTheReference(Case c) {
    for (Activation f : Activation.values()) {
      for (boolean residual : new boolean[] {false, true}) {
        List<double[]> expected = wide("reference", c, f, residual);
        List<double[]> actual = wide("cpu", c, f, residual);
        for (int i = 0; i < expected.size(); i++) {
          String what = "output " + i + " of " + c + " " + f + " " + residual;
          Values.assertClose(what, expected.get(i), actual.get(i), c.limit());
        }
      }
    }
  }

  /** y of training, dx in units of gamma invstd, dResidual or dx again, sums and y of inference. */
  private static List<double[]> wide(String backend, Case c, Activation f, boolean add) {
    Shape s = c.shape();
    int n = (int) s.elements();
    double[] values = new double[n];
    for (int i = 0, k = 0; i < n; i++) {
      values[i] = channel(s, i) == 1 ? (float) c.value().applyAsDouble(k++) : normal(-1 - i);
    }
    try (Backend b = Backends.open(backend);
        Scope m = b.scope();
        BatchNorm bn = BatchNorm.builder(m, CHANNELS).momentum(1).eps(0).activation(f).build()) {
      bn.affine().gamma().copyFrom(0.75f, 1.5f);
      bn.affine().beta().copyFrom(0.3f, 0.1f);
      Tensor x = Values.tensor(m, s, DType.F32, values);
      Tensor dy = Values.tensor(m, s, DType.F32, Values.normal(DType.F32, 5, n, 0.5, 1));
      Tensor residual = add ? Values.tensor(m, s, DType.F32, fill(n, 0.25)) : null;
      Tensor y = m.empty(s, DType.F32);
      Tensor dx = m.empty(s, DType.F32);
      Tensor dResidual = add ? m.empty(s, DType.F32) : dx;
      Saved saved = Saved.empty(m, s, DType.F32, add && f == Activation.RELU);
      Sums sums = Sums.empty(m, CHANNELS);
      Affine affine = bn.affine();
      b.norm().forward(x, affine, 0, f, residual, saved, y);
      final double[] trained = y.toDoubles();
      b.norm().backward(dy, x, saved, f, sums, dx, add ? dResidual : null);
      b.norm().commit(List.of(saved), List.of(bn.running()));
      b.norm().infer(x, bn.running(), affine, 0, f, residual, y);
      double[] scale = saved.scale().toDoubles();
      double[] units = dx.toDoubles();
      for (int i = 0; i < n; i++) {
        units[i] /= scale[channel(s, i)];
      }
      double[] mean = sums.packed().toDoubles();
      Arrays.setAll(mean, i -> mean[i] / s.valuesPerChannel());
      double[] gated = add ? dResidual.toDoubles() : units;
      return List.of(trained, units, gated, mean, y.toDoubles());
    }
  }

  private static int channel(Shape s, int i) {
    return (int) (i / s.inner() % s.channels());
  }

  private static double[] fill(int n, double v) {
    double[] values = new double[n];
    Arrays.fill(values, v);
    return values;
  }

  static Stream<Shape> constantShapes() {
    return Stream.of(
        Shape.nc(1000, 3), Shape.nc(7, 700), Shape.nchw(9, 3, 40, 41), Shape.nhwc(5, 9, 9, 3));
  }

  @ParameterizedTest
  @MethodSource("constantShapes")
  void constantChannelsGiveBetaExactly(Shape s) {
    int channels = (int) s.channels();
    for (float v : new float[] {3.7f, 1e7f / 3, -2e38f, 1e-42f}) {
      try (Backend b = Backends.open("cpu");
          Scope m = b.scope();
          BatchNorm bn = BatchNorm.builder(m, channels).build()) {
        double[] x = new double[(int) s.elements()];
        Arrays.fill(x, v);
        float[] beta = new float[(int) s.elements()];
        Arrays.fill(beta, 0.3f);
        bn.affine().beta().copyFrom(Arrays.copyOf(beta, channels));
        Pass pass = bn.pass(m, s, DType.F32);
        Tensor y = m.empty(s, DType.F32);
        bn.forward(pass, Values.tensor(m, s, DType.F32, x), y);
        assertArrayEquals(beta, y.toFloats(), "constant " + v);
        assertArrayEquals(new double[channels], pass.saved().variance().toDoubles());
      }
    }
  }

  @ParameterizedTest
  @MethodSource("constantShapes")
  void gateOfTheBackwardIsThatOfTheForward(Shape s) {
    int n = (int) s.elements();
    int channels = (int) s.channels();
    for (DType t : List.of(DType.F32, DType.F16, DType.BF16, DType.F64)) {
      try (Backend b = Backends.open("cpu");
          Scope m = b.scope();
          BatchNorm bn = BatchNorm.builder(m, channels).dtype(t).build()) {
        // A mean far from 0 and a beta near what closes the gate: many values at the threshold.
        Tensor x = Values.tensor(m, s, t, Values.normal(t, 7, n, 300, 0.01));
        Tensor v = m.empty(s, t);
        Tensor residual = m.zeros(s, t);
        Tensor ones = Values.tensor(m, s, t, Values.normal(t, 1, n, 1, 0));
        Tensor dx = m.empty(s, t);
        Tensor open = m.empty(s, t);
        Tensor openToo = m.empty(s, t);
        Affine a = bn.affine();
        Pass plain = bn.pass(m, s, t);
        Saved kept = Saved.empty(m, s, t, true);
        Sums sums = plain.sums();
        b.norm().forward(x, a, EPS, Activation.RELU, null, plain.saved(), v);
        b.norm().backward(ones, x, plain.saved(), Activation.RELU, sums, dx, open);
        b.norm().forward(x, a, EPS, Activation.RELU, residual, kept, v);
        b.norm().backward(ones, x, kept, Activation.RELU, sums, dx, openToo);
        double[] expected = v.toDoubles();
        if (t != DType.F16 && t != DType.BF16) {
          Arrays.setAll(expected, i -> expected[i] > 0 ? 1 : 0);
          assertArrayEquals(expected, open.toDoubles(), "recomputed, " + t);
        }
        assertArrayEquals(open.toDoubles(), openToo.toDoubles(), "kept, " + t);
      }
    }
  }
}
