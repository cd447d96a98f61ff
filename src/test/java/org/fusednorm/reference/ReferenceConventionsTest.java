package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Parts against the whole, aliasing, special values and sizes of zero. */
class ReferenceConventionsTest {
  private static final double EPS = 1e-5;

  private final Backend b = Backends.open("reference");

  @AfterEach
  void close() {
    b.close();
  }

  private Saved saved(Shape s, DType t) {
    return Saved.empty(b, s, t, true);
  }

  @Test
  void isThereEverywhereOnce() {
    assertTrue(
        Backends.availability().stream()
            .anyMatch(a -> a.name().equals("reference") && a.available() && a.cause().isEmpty()));
    BackendException e = assertThrows(BackendException.class, () -> Backends.open("reference:1"));
    assertEquals("there is no reference:1, only reference:0", e.getMessage());
    for (DType t : DType.values()) {
      assertEquals(t.isFloating(), b.computes(t));
    }
  }

  @Test
  void partsGiveWhatTheFusedVerbsGive() {
    Shape whole = Shape.nchw(5, 3, 2, 2);
    int[] cuts = {0, 2, 2, 3, 5};
    Affine affine = Data.affine(b, 3, 1);
    Tensor x = Data.random(b, whole, 2);
    Tensor dy = Data.random(b, whole, 3);
    Saved fused = Saved.empty(b, whole, DType.F64, false);
    Saved split = Saved.empty(b, whole, DType.F64, false);
    Tensor y = b.empty(whole, DType.F64);
    Tensor dx = b.empty(whole, DType.F64);
    Sums sums = Sums.empty(b, 3);
    b.norm().forward(x, affine, EPS, Activation.RELU, null, fused, y);
    b.norm().backward(dy, x, fused, Activation.RELU, sums, dx, null);

    int parts = cuts.length - 1;
    Tensor gathered = b.empty(Shape.of(parts * 7), DType.F64);
    for (int p = 0; p < parts; p++) {
      b.norm().moments(x.batch(cuts[p], cuts[p + 1]), Moments.of(gathered.batch(7 * p, 7 * p + 7)));
    }
    Moments moments = Moments.empty(b, 3);
    b.norm().merge(gathered, parts, moments);
    b.norm().coefficients(moments, affine, EPS, split);
    assertEquals(20, split.count().toLongs()[0]);
    Tensor gatheredSums = b.empty(Shape.of(parts * 6), DType.F64);
    Tensor splitY = b.empty(whole, DType.F64);
    for (int p = 0; p < parts; p++) {
      Tensor part = x.batch(cuts[p], cuts[p + 1]);
      b.norm().normalize(part, split, Activation.RELU, null, splitY.batch(cuts[p], cuts[p + 1]));
      b.norm()
          .gradientSums(
              dy.batch(cuts[p], cuts[p + 1]),
              part,
              split,
              Activation.RELU,
              Sums.of(gatheredSums.batch(6 * p, 6 * p + 6)));
    }
    Sums total = Sums.empty(b, 3);
    b.norm().merge(gatheredSums, parts, total);
    Tensor splitDx = b.empty(whole, DType.F64);
    for (int p = 0; p < parts; p++) {
      b.norm()
          .inputGradient(
              dy.batch(cuts[p], cuts[p + 1]),
              x.batch(cuts[p], cuts[p + 1]),
              split,
              total,
              Activation.RELU,
              splitDx.batch(cuts[p], cuts[p + 1]),
              null);
    }
    assertArrayEquals(fused.mean().toDoubles(), split.mean().toDoubles(), 1e-15);
    assertArrayEquals(fused.variance().toDoubles(), split.variance().toDoubles(), 1e-14);
    assertArrayEquals(y.toDoubles(), splitY.toDoubles(), 1e-14);
    assertArrayEquals(sums.packed().toDoubles(), total.packed().toDoubles(), 1e-13);
    assertArrayEquals(dx.toDoubles(), splitDx.toDoubles(), 1e-14);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16", "F64"})
  void outputsMayBeInputs(DType t) {
    Shape s = Shape.nchw(2, 3, 2, 2);
    Tensor x = b.empty(s, t).copyFrom(Data.values(24, 1));
    Tensor dy = b.empty(s, t).copyFrom(Data.values(24, 2));
    Tensor residual = b.empty(s, t).copyFrom(Data.values(24, 3));
    Saved saved = saved(s, t);
    Sums sums = Sums.empty(b, 3);
    Tensor y = b.empty(s, t);
    Tensor dx = b.empty(s, t);
    Tensor dResidual = b.empty(s, t);
    b.norm().forward(x, Affine.NONE, EPS, Activation.RELU, residual, saved, y);
    b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, dResidual);

    Tensor inPlace = b.empty(s, t).copyFrom(residual);
    b.norm().normalize(x, saved, Activation.RELU, inPlace, inPlace);
    assertArrayEquals(y.toDoubles(), inPlace.toDoubles());
    inPlace.copyFrom(x);
    b.norm().normalize(inPlace, saved, Activation.RELU, residual, inPlace);
    assertArrayEquals(y.toDoubles(), inPlace.toDoubles());

    inPlace.copyFrom(x);
    Tensor gradient = b.empty(s, t).copyFrom(dy);
    b.norm().backward(gradient, inPlace, saved, Activation.RELU, sums, inPlace, gradient);
    assertArrayEquals(dx.toDoubles(), inPlace.toDoubles());
    assertArrayEquals(dResidual.toDoubles(), gradient.toDoubles());
    gradient.copyFrom(dy);
    b.norm().backward(gradient, x, saved, Activation.RELU, sums, gradient, null);
    assertArrayEquals(dx.toDoubles(), gradient.toDoubles());

    Running r = Data.running(b, new double[] {1, 0, -1}, new double[] {1, 2, 3}, null, true);
    b.norm().infer(x, r, Affine.NONE, EPS, Activation.NONE, null, y);
    inPlace.copyFrom(x);
    b.norm().infer(inPlace, r, Affine.NONE, EPS, Activation.NONE, null, inPlace);
    assertArrayEquals(y.toDoubles(), inPlace.toDoubles());
  }

  @Test
  void recomputationAndMaskOutliveAnOptimizer() {
    Shape s = Shape.nhwc(3, 2, 2, 2);
    Affine affine = new Affine(b.of(Shape.of(2), 1, -2), b.of(Shape.of(2), 0.1f, 0.2f));
    Tensor x = b.empty(s, DType.F32).copyFrom(Data.values(24, 4));
    Tensor dy = b.empty(s, DType.F32).copyFrom(Data.values(24, 5));
    Tensor y = b.empty(s, DType.F32);
    Tensor dx = b.empty(s, DType.F32);
    Saved saved = Saved.empty(b, s, DType.F32, false);
    Sums sums = Sums.empty(b, 2);
    b.norm().forward(x, affine, EPS, Activation.RELU, null, saved, y);
    b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, null);
    float[] forward = y.toFloats();
    float[] backward = dx.toFloats();
    affine.gamma().copyFrom(-3, 5);
    affine.beta().copyFrom(-3, 5);
    b.norm().normalize(x, saved, Activation.RELU, null, y);
    b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, null);
    assertArrayEquals(forward, y.toFloats());
    assertArrayEquals(backward, dx.toFloats());
  }

  /** The gate is taken before rounding: what F16 stores as 0 may still have passed. */
  @Test
  void theGateSeesTheValueBeforeRounding() {
    Shape s = Shape.nc(2, 1);
    Tensor x = b.empty(s, DType.F16).copyFrom(-1.0, 1);
    Affine tiny = new Affine(b.of(Shape.of(1), 1e-12f), b.of(Shape.of(1), 0));
    Tensor y = b.empty(s, DType.F16);
    Tensor passed = b.empty(s, DType.F16);
    Tensor residual = b.zeros(s, DType.F16);
    for (Tensor r : new Tensor[] {null, residual}) {
      Saved saved = Saved.empty(b, s, DType.F16, r != null);
      b.norm().forward(x, tiny, EPS, Activation.RELU, r, saved, y);
      assertArrayEquals(new float[2], y.toFloats());
      Tensor dy = b.empty(s, DType.F16).copyFrom(3.0, 4);
      Tensor dx = b.empty(s, DType.F16);
      b.norm().backward(dy, x, saved, Activation.RELU, Sums.empty(b, 1), dx, passed);
      assertArrayEquals(new float[] {0, 4}, passed.toFloats());
    }
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void whatIsNotFiniteStaysInItsChannel(float bad) {
    Shape s = Shape.nc(3, 3);
    float[] values = {1, 2, 3, 4, 5, 6, 8, 7, 9};
    Tensor clean = b.of(s, values);
    values[4] = bad;
    Tensor x = b.of(s, values);
    Tensor dy = b.of(s, 1, 2, 3, 5, 7, 11, 13, 17, 19);
    float[][] got = new float[4][];
    Running[] running = new Running[2];
    for (int k = 0; k < 2; k++) {
      Tensor in = k == 0 ? clean : x;
      Tensor y = b.empty(s, DType.F32);
      Tensor dx = b.empty(s, DType.F32);
      Saved saved = Saved.empty(b, s, DType.F32, false);
      running[k] = Data.running(b, new double[3], new double[3], b.scalar(0.5), true);
      b.norm().forward(in, Affine.NONE, EPS, Activation.RELU, null, saved, y);
      b.norm().backward(dy, in, saved, Activation.RELU, Sums.empty(b, 3), dx, null);
      b.norm().commit(List.of(saved), List.of(running[k]));
      got[2 * k] = y.toFloats();
      got[2 * k + 1] = dx.toFloats();
    }
    for (int i = 0; i < 9; i++) {
      if (i % 3 == 1) {
        assertTrue(Float.isNaN(got[2][i]), "ReLU keeps NaN");
        assertFalse(Float.isFinite(got[3][i]));
      } else {
        assertEquals(got[0][i], got[2][i]);
        assertEquals(got[1][i], got[3][i]);
      }
    }
    double[] mean = running[1].mean().toDoubles();
    assertEquals(running[0].mean().toDoubles()[2], mean[2]);
    assertFalse(Double.isFinite(mean[1]));
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.1, -3.3, 1e6 + 0.1, 3e38, 1e-45, 0})
  void aConstantChannelIsExactlyBeta(double constant) {
    Shape s = Shape.ncl(7, 1, 11);
    float[] values = new float[77];
    Arrays.fill(values, (float) constant);
    Tensor x = b.of(s, values);
    Tensor y = b.empty(s, DType.F32);
    Saved saved = saved(s, DType.F32);
    Affine a = new Affine(b.of(Shape.of(1), 1.7f), b.of(Shape.of(1), 0.3f));
    b.norm().forward(x, a, EPS, Activation.NONE, null, saved, y);
    assertEquals((float) constant, saved.mean().toDoubles()[0]);
    assertEquals(0, saved.variance().toDoubles()[0]);
    float[] beta = new float[77];
    Arrays.fill(beta, 0.3f);
    assertArrayEquals(beta, y.toFloats());
    Tensor dy = b.empty(s, DType.F32).copyFrom(Data.values(77, 1));
    b.norm().backward(dy, x, saved, Activation.NONE, Sums.empty(b, 1), y, null);
    for (float v : y.toFloats()) {
      assertTrue(Float.isFinite(v));
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0.1, 1e308, -1.7e308, 0x1p-1074})
  void aConstantChannelIsExactlyBetaInF64(double constant) {
    Shape s = Shape.nc(77, 1);
    double[] values = new double[77];
    Arrays.fill(values, constant);
    Tensor y = b.empty(s, DType.F64);
    Affine a = new Affine(null, Data.f64(b, Shape.of(1), 0.3));
    b.norm().forward(Data.f64(b, s, values), a, EPS, Activation.NONE, null, saved(s, DType.F64), y);
    Arrays.fill(values, 0.3);
    assertArrayEquals(values, y.toDoubles());
  }

  @Test
  void neitherFarMeansNorOutliersNorTheRangeCostDigits() {
    // 2^20 + k / 16, and the same with a first value that would spoil a shift by it.
    int m = 4096;
    double[] values = new double[m];
    double[] spoiled = new double[m + 1];
    spoiled[0] = 1e15;
    for (int i = 0; i < m; i++) {
      values[i] = 0x1p20 + (i % 16) / 16.0;
      spoiled[i + 1] = (i % 16) / 16.0;
    }
    Moments out = Moments.empty(b, 1);
    b.norm().moments(Data.f64(b, Shape.nc(m, 1), values), out);
    // Mean 7.5/16; the sum of squared deviations of 0..15 is 340.
    assertArrayEquals(
        new double[] {m, 0x1p20 + 7.5 / 16, m / 16 * 340.0 / 256}, out.packed().toDoubles());
    b.norm().moments(Data.f64(b, Shape.nc(m + 1, 1), spoiled), out);
    double mean = (1e15 + 0.46875 * m) / (m + 1);
    assertEquals(mean, out.mean().toDoubles()[0], 1e-13 * mean);

    Shape s = Shape.nc(2, 1);
    Tensor y = b.empty(s, DType.F32);
    Saved saved = saved(s, DType.F32);
    b.norm()
        .forward(
            b.of(s, Float.MAX_VALUE, -Float.MAX_VALUE),
            Affine.NONE,
            EPS,
            Activation.NONE,
            null,
            saved,
            y);
    assertArrayEquals(new float[] {1, -1}, y.toFloats(), 1e-6f);
  }

  @Test
  void anEmptyBatchAndNoChannelsAreLegal() {
    for (Shape s : List.of(Shape.nchw(0, 3, 2, 2), Shape.nhwc(2, 0, 3, 3), Shape.nc(4, 0))) {
      long c = s.channels();
      Tensor x = b.empty(s, DType.F32);
      Tensor y = b.empty(s, DType.F32);
      Saved saved = saved(s, DType.F32);
      Sums sums = Sums.empty(b, c);
      Affine gradients = new Affine(b.of(Shape.of(c), ones(c)), b.of(Shape.of(c), ones(c)));
      Running r = Data.running(b, new double[(int) c], new double[(int) c], null, true);
      Moments moments = Moments.empty(b, c);
      b.norm().moments(x, moments);
      b.norm().forward(x, Affine.NONE, EPS, Activation.RELU, x, saved, y);
      b.norm().backward(y, x, saved, Activation.RELU, sums, y, null);
      b.norm().gradients(sums, gradients, Write.SET);
      b.norm().infer(x, r, Affine.NONE, EPS, Activation.NONE, null, y);
      b.norm().commit(List.of(saved), List.of(r));
      double[] packed = new double[(int) (1 + 2 * c)];
      packed[0] = c == 0 ? 4 : 0;
      assertArrayEquals(packed, moments.packed().toDoubles());
      assertEquals(c == 0 ? 4 : 0, saved.count().toLongs()[0]);
      assertArrayEquals(new double[(int) (2 * c)], sums.packed().toDoubles());
      assertArrayEquals(new float[(int) c], gradients.gamma().toFloats());
      assertArrayEquals(new float[(int) c], gradients.beta().toFloats());
      assertEquals(c == 0 ? 1 : 0, r.count().toLongs()[0]);
    }
  }

  private static float[] ones(long n) {
    float[] v = new float[(int) n];
    Arrays.fill(v, 1);
    return v;
  }

  @Test
  void aStepAllocatesNothing() {
    Shape s = Shape.nchw(4, 3, 5, 5);
    Tensor x = b.empty(s, DType.BF16).copyFrom(Data.values(300, 1));
    Tensor residual = b.empty(s, DType.BF16).copyFrom(Data.values(300, 2));
    Tensor y = b.empty(s, DType.BF16);
    Saved saved = saved(s, DType.BF16);
    Sums sums = Sums.empty(b, 3);
    Affine affine = new Affine(b.of(Shape.of(3), ones(3)), b.of(Shape.of(3), ones(3)));
    Running running = Data.running(b, new double[3], new double[3], b.scalar(0.1), true);
    List<Saved> from = List.of(saved);
    List<Running> to = List.of(running);
    Tensor w = b.of(Shape.of(3, 3), ones(9));
    Tensor product = b.empty(Shape.of(3, 3), DType.F32);
    Tensor labels = b.zeros(Shape.of(3), DType.I64);
    Tensor loss = b.empty(Shape.of(1), DType.F64);
    Scalar rate = b.scalar(0.1);
    Runnable step =
        () -> {
          b.norm().forward(x, affine, EPS, Activation.RELU, residual, saved, y);
          b.norm().backward(residual, x, saved, Activation.RELU, sums, y, null);
          b.norm().commit(from, to);
          b.norm().infer(x, running, affine, EPS, Activation.NONE, null, y);
          b.math().matmul(w, false, w, true, product, Write.SET);
          b.math().activate(Nonlinearity.SIGMOID, product, product);
          b.math().softmaxCrossEntropy(product, labels, loss, product);
          b.math().gather(w, labels, 1, product);
          b.math().sgd(w, product, null, rate, null, null);
        };
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    // The JVM itself allocates now and then (loading, deoptimization): what a step allocates shows
    // in every round, so the least counts.
    long least = Long.MAX_VALUE;
    for (int round = 0; round < 10; round++) {
      long before = threads.getCurrentThreadAllocatedBytes();
      for (int i = 0; i < 5; i++) {
        step.run();
      }
      least = Math.min(least, threads.getCurrentThreadAllocatedBytes() - before);
    }
    assertEquals(0, least);
  }
}
