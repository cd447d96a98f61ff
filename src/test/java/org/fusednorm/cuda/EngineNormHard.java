package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.DoubleUnaryOperator;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Values and sizes where normalization usually fails. Run by {@link CudaNormTest}. */
class EngineNormHard {
  private static Backend cuda;
  private static Backend reference;

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

  /** Values of channel 1; channel 0 is normal. Limits are relative to 1 + |expected|. */
  record Case(String values, Shape shape, double eps, double limit, DoubleUnaryOperator value) {
    @Override
    public String toString() {
      return values + " " + shape;
    }
  }

  private static double gauss(double index) {
    SplittableRandom r = new SplittableRandom((long) index);
    return Math.sqrt(-2 * Math.log(1 - r.nextDouble())) * Math.cos(2 * Math.PI * r.nextDouble());
  }

  private static double uniform(double index) {
    return 2 * new SplittableRandom((long) index).nextDouble() - 1;
  }

  /** Rows and planes of whole vectors, and planes that are none; each of several slices. */
  static Stream<Case> cases() {
    return Stream.of(Shape.nc(3000, 8), Shape.ncl(6, 2, 1024), Shape.nchw(50, 4, 7, 7))
        .flatMap(
            s ->
                Stream.of(
                    new Case("mean 1e4, std 1", s, 1e-5, 2e-6, i -> 1e4 + gauss(i)),
                    new Case("mean 1e6, std 0.1", s, 1e-5, 2e-6, i -> 1e6 + 0.1 * gauss(i)),
                    new Case("uniform 3e19", s, 1e-5, 2e-6, i -> 3e19 * uniform(i)),
                    new Case("uniform 3e38", s, 1e-5, 2e-6, i -> 3e38 * uniform(i)),
                    new Case("denormal", s, 1e-5, 2e-6, i -> 1e-40 * uniform(i)),
                    new Case("outlier first", s, 1e-5, 2e-5, i -> i == 0 ? 1e8 : gauss(i)),
                    new Case("outlier", s, 1e-5, 2e-5, i -> i == 777 ? 1e8 : gauss(i)),
                    new Case("one far", s, 0, 2e-6, i -> i % 64 == 7 ? 3e38 : -3e38),
                    new Case("far, mean near 0", s, 0, 2e-6, i -> i == 7 ? 3.4e38 : -2e36),
                    new Case("std 1e22", s, 0, 2e-6, i -> 1e22 * gauss(i)),
                    new Case("std 1e-20", s, 0, 2e-6, i -> 1e-20 * gauss(i)),
                    new Case("drifting", s, 1e-5, 2e-6, i -> i + gauss(i)),
                    new Case("constant", s, 0, 0, i -> 1e7f / 3),
                    new Case("with a NaN", s, 1e-5, 2e-6, i -> i == 99 ? Double.NaN : gauss(i)),
                    new Case("with an infinity", s, 1e-5, 2e-6, i -> i == 99 ? 1e99 : gauss(i))));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void hardValues(Case c) {
    for (Activation f : Activation.values()) {
      for (boolean add : new boolean[] {false, true}) {
        List<double[]> expected = step(reference, c, f, add);
        List<double[]> actual = step(cuda, c, f, add);
        for (int i = 0; i < expected.size(); i++) {
          String what = "output " + i + " of " + c + " " + f + (add ? " with residual" : "");
          assertClose(what, expected.get(i), actual.get(i), c.limit() + 2e-6);
        }
        if (c.limit() == 0 && !add && f == Activation.NONE) {
          double[] y = actual.get(0);
          for (int i = 0; i < y.length; i++) {
            assertTrue(channel(c.shape(), i) != 1 || y[i] == 0.1f, "beta, not " + y[i]);
          }
        }
      }
    }
  }

  private static int channel(Shape s, int i) {
    return (int) (i / s.inner() % s.channels());
  }

  /** y, dx in units of gamma invstd, the gradient of the residual, mean, sums; y of inference. */
  private static List<double[]> step(Backend b, Case c, Activation f, boolean add) {
    Shape s = c.shape();
    int channels = (int) s.channels();
    int n = (int) s.elements();
    double[] x = new double[n];
    for (int i = 0, k = 0; i < n; i++) {
      x[i] = channel(s, i) == 1 ? (float) c.value().applyAsDouble(k++) : gauss(-1 - i);
    }
    float[] gamma = new float[channels];
    float[] beta = new float[channels];
    Arrays.fill(gamma, 1.5f);
    Arrays.fill(beta, 0.1f);
    List<double[]> out = new ArrayList<>();
    try (Scope m = b.scope()) {
      Affine a =
          new Affine(
              m.empty(Shape.of(channels), DType.F32).copyFrom(gamma),
              m.empty(Shape.of(channels), DType.F32).copyFrom(beta));
      Tensor xt = tensor(m, s, DType.F32, x);
      Tensor dy = tensor(m, s, DType.F32, normal(DType.F32, 5, n, 0.5, 1));
      double[] quarter = new double[n];
      Arrays.fill(quarter, 0.25);
      Tensor residual = add ? tensor(m, s, DType.F32, quarter) : null;
      Tensor y = m.empty(s, DType.F32);
      Tensor dx = m.empty(s, DType.F32);
      Tensor dResidual = add ? m.empty(s, DType.F32) : null;
      Saved saved = Saved.empty(m, s, DType.F32, add);
      Sums sums = Sums.empty(m, channels);
      b.norm().forward(xt, a, c.eps(), f, residual, saved, y);
      out.add(y.toDoubles());
      b.norm().backward(dy, xt, saved, f, sums, dx, dResidual);
      double[] scale = saved.scale().toDoubles();
      double[] units = dx.toDoubles();
      for (int i = 0; i < n; i++) {
        double by = scale[channel(s, i)];
        units[i] = by == 0 || Double.isNaN(by) ? 0 : units[i] / by;
      }
      out.add(units);
      out.add(add ? dResidual.toDoubles() : new double[0]);
      double[] sum = sums.packed().toDoubles();
      for (int i = 0; i < sum.length; i++) {
        sum[i] /= s.valuesPerChannel();
      }
      out.add(sum);
      Running running = Running.moving(m, channels, 1, false);
      b.norm().commit(List.of(saved), List.of(running));
      b.norm().infer(xt, running, a, c.eps(), f, residual, y);
      out.add(y.toDoubles());
    }
    return out;
  }

  /** Channels that are summed side by side: rows of several columns and slices, 7 x 7 planes. */
  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16", "F64"})
  void whatOneChannelHoldsChangesNoBitOfAnother(DType t) {
    for (Shape s : List.of(Shape.nc(700, 72), Shape.nchw(14, 72, 7, 7))) {
      double[] x = normal(t, 1, (int) s.elements(), 1, 1);
      double[] dy = normal(t, 2, (int) s.elements(), 0, 1);
      List<double[]> clean = bits(s, t, x, dy);
      for (double bad : new double[] {Double.NaN, Double.NEGATIVE_INFINITY}) {
        for (double[] in : List.of(x, dy)) {
          double[] spoilt = in.clone();
          for (int c : SPOILT) {
            long row = (3 + 9 * c) % s.outer();
            spoilt[(int) ((row * 72 + c) * s.inner() + c % s.inner())] = bad;
          }
          List<double[]> got = in == x ? bits(s, t, spoilt, dy) : bits(s, t, x, spoilt);
          for (int k = 0; k < clean.size(); k++) {
            double[] expected = clean.get(k);
            for (int i = 0; i < expected.length; i++) {
              int channel = expected.length == 72 ? i : channel(s, i);
              if (Arrays.binarySearch(SPOILT, channel) < 0) {
                assertEquals(expected[i], got.get(k)[i], s + ", output " + k + " at " + i);
              }
            }
          }
          // y does not know of dy, but the sums know of both.
          assertFalse(Double.isFinite(got.get(2)[SPOILT[0]]));
        }
      }
    }
  }

  private static final int[] SPOILT = {5, 6, 40, 71};

  /** y, dx, sums of dy xhat, sums of dy. */
  private static List<double[]> bits(Shape s, DType t, double[] x, double[] dy) {
    try (Scope m = cuda.scope()) {
      Tensor xt = tensor(m, s, t, x);
      Tensor dyt = tensor(m, s, t, dy);
      Tensor y = m.empty(s, t);
      Tensor dx = m.empty(s, t);
      Saved saved = Saved.empty(m, s, t, false);
      Sums sums = Sums.empty(m, s.channels());
      cuda.norm().forward(xt, Affine.NONE, 1e-5, Activation.NONE, null, saved, y);
      cuda.norm().backward(dyt, xt, saved, Activation.NONE, sums, dx, null);
      return List.of(
          y.toDoubles(), dx.toDoubles(), sums.dyXhat().toDoubles(), sums.dy().toDoubles());
    }
  }

  @Test
  void emptyBatch() {
    try (Scope m = cuda.scope()) {
      for (Shape s : List.of(Shape.nc(0, 3), Shape.nchw(2, 3, 0, 5))) {
        for (DType t : List.of(DType.F32, DType.BF16, DType.F64)) {
          Tensor none = m.empty(s, t);
          Saved saved = Saved.empty(m, s, t, true);
          Sums sums = Sums.empty(m, 3);
          sums.packed().copyFrom(9, 9, 9, 9, 9, 9);
          Moments moments = Moments.empty(m, 3);
          moments.packed().copyFrom(9, 9, 9, 9, 9, 9, 9);
          cuda.norm().moments(none, moments);
          assertArrayEquals(new double[7], moments.packed().toDoubles());
          cuda.norm().forward(none, Affine.NONE, 1e-5, Activation.RELU, none, saved, none.as(s));
          assertArrayEquals(new double[1], saved.count().toDoubles());
          assertArrayEquals(new double[3], saved.mean().toDoubles());
          cuda.norm().backward(none, none, saved, Activation.RELU, sums, none, null);
          assertArrayEquals(new double[6], sums.packed().toDoubles());
          Running running = Running.moving(m, 3, 0.5, true);
          cuda.norm().commit(List.of(saved), List.of(running));
          assertArrayEquals(new double[] {1, 1, 1}, running.variance().toDoubles());
          assertArrayEquals(new double[1], running.count().toDoubles());
        }
      }
    }
  }

  /** More groups of columns than there are counters for tickets, and more than a grid is wide. */
  @Test
  void manyChannels() {
    for (Shape s : List.of(Shape.ncl(2, Launches.TICKETS + 8, 4), Shape.nc(3, 70_000))) {
      assertClose(s.toString(), manyChannels(reference, s), manyChannels(cuda, s), 4e-6);
    }
  }

  private static double[] manyChannels(Backend b, Shape s) {
    int n = (int) s.elements();
    try (Scope m = b.scope()) {
      Tensor x = tensor(m, s, DType.F32, normal(DType.F32, 1, n, 1, 1));
      Saved saved = Saved.empty(m, s, DType.F32, true);
      b.norm().forward(x, Affine.NONE, 0.1, Activation.NONE, x, saved, m.empty(s, DType.F32));
      Tensor y = m.empty(s, DType.F32);
      b.norm().normalize(x, saved, Activation.NONE, null, y);
      Sums sums = Sums.empty(m, s.channels());
      Affine gradients = new Affine(null, m.zeros(Shape.of(s.channels()), DType.F32));
      b.norm().backward(x, x, saved, Activation.NONE, sums, x, null);
      b.norm().gradients(sums, gradients, Write.SET);
      double[] all = Arrays.copyOf(y.toDoubles(), n + (int) s.channels());
      System.arraycopy(gradients.beta().toDoubles(), 0, all, n, (int) s.channels());
      return all;
    }
  }
}
