package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The verbs of normalization on one small case computed by hand. Channel 0 is 1, 3, 5, 7: mean 4,
 * M2 20; channel 1 is 2, 2, 2, 2. With eps 4, invstd is 1/3 and 1/2, so the coefficients are chosen
 * thirds and come out exactly.
 */
class ReferenceNormTest {
  private static final double EPS = 4;
  private static final Shape S = Shape.ncl(2, 2, 2);

  private final Backend b = Backends.open("reference");
  private final Tensor x = f64(S, 1, 3, 2, 2, 5, 7, 2, 2);
  private final Tensor dy = f64(S, 1, 2, 3, 4, 5, 6, 7, 8);
  private final Tensor y = b.empty(S, DType.F64);
  private final Tensor dx = b.empty(S, DType.F64);
  private final Affine affine = new Affine(f64(Shape.of(2), 3, 5), f64(Shape.of(2), 1, -1));
  private final Saved saved = Saved.empty(b, S, DType.F64, false);
  private final Sums sums = Sums.empty(b, 2);

  @AfterEach
  void close() {
    b.close();
  }

  private Tensor f64(Shape s, double... v) {
    return Data.f64(b, s, v);
  }

  private static void assertValues(Tensor got, double... expected) {
    assertArrayEquals(expected, got.toDoubles(), 1e-14);
  }

  @Test
  void moments() {
    Moments m = Moments.empty(b, 2);
    b.norm().moments(x, m);
    assertArrayEquals(new double[] {4, 4, 2, 20, 0}, m.packed().toDoubles());
  }

  @Test
  void mergeOfMomentsTakesPartsInOrderAndSkipsEmptyOnes() {
    // {1}, {}, {3, 8}: mean 4, M2 9 + 1 + 16; and 5, 5, 5. What an empty part says is not heard.
    Tensor gathered = f64(Shape.of(3, 5), 1, 1, 5, 0, 0, 0, 99, 99, 99, 99, 2, 5.5, 5, 12.5, 0);
    Moments m = Moments.empty(b, 2);
    b.norm().merge(gathered, 3, m);
    assertValues(m.packed(), 3, 4, 5, 26, 0);
    b.norm().merge(f64(Shape.of(2, 5), new double[10]), 2, m);
    assertValues(m.packed(), 0, 0, 0, 0, 0);
  }

  @Test
  void mergeOfSums() {
    b.norm().merge(f64(Shape.of(8), 1, 2, 3, 4, 10, 20, 30, 40), 2, sums);
    assertValues(sums.packed(), 11, 22, 33, 44);
  }

  @Test
  void coefficientsOfMoments() {
    Moments m = Moments.of(f64(Shape.of(5), 4, 4, 2, 20, 0));
    b.norm().coefficients(m, affine, EPS, saved);
    assertEquals(4, saved.count().toLongs()[0]);
    assertValues(saved.mean(), 4, 2);
    assertValues(saved.variance(), 5, 0);
    assertValues(saved.invstd(), 1.0 / 3, 0.5);
    assertValues(saved.center(), 4, 2);
    assertValues(saved.scale(), 1, 2.5);
    assertValues(saved.shift(), 1, -1);
  }

  @Test
  void coefficientsOfF32DataKeepTheRestOfTheMeanInTheShift() {
    Shape s = Shape.nc(2, 1);
    Saved f32 = Saved.empty(b, s, DType.F32, false);
    // One value per channel has variance 0 and invstd 1/2. F32 has steps of 1/16 at 1e6.
    Moments m = Moments.of(f64(Shape.of(3), 1, 1e6 + 0.01, 0));
    b.norm().coefficients(m, new Affine(b.of(Shape.of(1), 4), b.of(Shape.of(1), 7)), EPS, f32);
    assertEquals(DType.F32, f32.shift().dtype());
    assertValues(f32.variance(), 0);
    assertValues(f32.center(), 1e6);
    assertValues(f32.scale(), 2);
    assertArrayEquals(new double[] {7 - 0.02}, f32.shift().toDoubles(), 5e-7);
  }

  @Test
  void coefficientsOfRunningStatistics() {
    Running r = Data.running(b, new double[] {4, 2}, new double[] {5, 0}, null, true);
    b.norm().coefficients(r, Affine.NONE, EPS, saved);
    assertEquals(0, saved.count().toLongs()[0]);
    assertValues(saved.scale(), 1.0 / 3, 0.5);
    assertValues(saved.shift(), 0, 0);
  }

  @Test
  void forwardAndNormalize() {
    b.norm().forward(x, affine, EPS, Activation.NONE, null, saved, y);
    double[] expected = {-2, 0, -1, -1, 2, 4, -1, -1};
    assertValues(y, expected);
    assertEquals(4, saved.count().toLongs()[0]);
    b.norm().normalize(x, saved, Activation.NONE, null, y.fillZero());
    assertValues(y, expected);
    b.norm().forward(x, affine, EPS, Activation.RELU, null, saved, y);
    assertValues(y, 0, 0, 0, 0, 2, 4, 0, 0);
  }

  @Test
  void residualIsAddedBeforeTheActivationAndTheGateRemembersIt() {
    Saved gated = Saved.empty(b, S, DType.F64, true);
    Tensor residual = f64(S, 3, -1, 1, 1.5, -3, 0, 0, 2);
    b.norm().forward(x, affine, EPS, Activation.RELU, residual, gated, y);
    // -2, 0, -1, -1, 2, 4, -1, -1 and the residual
    assertValues(y, 1, 0, 0, 0.5, 0, 4, 0, 1);
    Tensor dResidual = b.empty(S, DType.F64);
    b.norm().backward(dy, x, gated, Activation.RELU, sums, dx, dResidual);
    assertValues(dResidual, 1, 0, 0, 4, 0, 6, 0, 8);
    // xhat is -1, -1/3, 1/3, 1 in channel 0, 0 in channel 1.
    assertValues(sums.packed(), 7, 12, -1 + 6, 0);
    b.norm().normalize(x, gated, Activation.RELU, null, y);
    assertArrayEquals(new double[] {0, 0, 0, 0, 2, 4, 0, 0}, y.toDoubles());
    b.norm().gradientSums(dy, x, gated, Activation.RELU, sums);
    assertValues(sums.dy(), 11, 0);
  }

  @Test
  void backward() {
    b.norm().forward(x, affine, EPS, Activation.NONE, null, saved, y);
    b.norm().backward(dy, x, saved, Activation.NONE, sums, dx, null);
    // dy is 1, 2, 5, 6 and 3, 4, 7, 8; sum dy xhat = -1 - 2/3 + 5/3 + 6 = 6.
    assertValues(sums.packed(), 14, 22, 6, 0);
    // a (dy - 14/4 - xhat 6/4), a = 1 and 2.5
    assertValues(dx, -1, -1, -6.25, -3.75, 1, 1, 3.75, 6.25);

    b.norm().gradientSums(dy, x, saved, Activation.RELU, sums);
    // y was -2, 0, 2, 4: the gradient passes the last two.
    assertValues(sums.packed(), 11, 0, 6 + 5.0 / 3, 0);
    b.norm().inputGradient(dy, x, saved, sums, Activation.RELU, dx, null);
    double perXhat = 23.0 / 12;
    double[] expected = {
      -2.75 + perXhat, -2.75 + perXhat / 3, 0, 0, 2.25 - perXhat / 3, 3.25 - perXhat, 0, 0
    };
    assertValues(dx, expected);
  }

  @Test
  void inputGradientTakesTotalsOfMoreThanItsOwnData() {
    b.norm().forward(x, affine, EPS, Activation.NONE, null, saved, y);
    saved.count().copyFrom(8L);
    Sums total = Sums.of(f64(Shape.of(4), 16, 0, 24, 0));
    b.norm().inputGradient(dy, x, saved, total, Activation.NONE, dx, null);
    // dy - 2 - 3 xhat
    assertValues(dx, 1 - 2 + 3, 2 - 2 + 1, 7.5, 10, 5 - 2 - 1, 6 - 2 - 3, 17.5, 20);
  }

  @Test
  void frozenStatisticsAreConstants() {
    Running r = Data.running(b, new double[] {4, 2}, new double[] {5, 0}, null, true);
    b.norm().coefficients(r, affine, EPS, saved);
    b.norm().normalize(x, saved, Activation.RELU, null, y);
    assertValues(y, 0, 0, 0, 0, 2, 4, 0, 0);
    b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, null);
    assertValues(dx, 0, 0, 0, 0, 5, 6, 0, 0);
    assertValues(sums.packed(), 11, 0, 6 + 5.0 / 3, 0);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16", "F64"})
  void inference(DType t) {
    Running r = Data.running(b, new double[] {4, 2}, new double[] {5, 0}, null, true);
    Shape c = Shape.of(2);
    Affine a =
        new Affine(
            b.empty(c, t.parameter()).copyFrom(3.0, 5), b.empty(c, t.parameter()).copyFrom(1.0, 3));
    Tensor in = b.empty(S, t).copyFrom(1.0, 3, 2, 4, 5, 7, 2, 0);
    Tensor out = b.empty(S, t);
    b.norm().infer(in, r, a, EPS, Activation.NONE, null, out);
    assertValues(out, -2, 0, 3, 8, 2, 4, 3, -2);
    b.norm().infer(in, r, a, EPS, Activation.RELU, in, out);
    assertValues(out, 0, 3, 5, 12, 7, 11, 5, 0);
    b.norm().infer(in, r, Affine.NONE, EPS, Activation.NONE, null, out);
    assertArrayEquals(new double[] {-1, -1.0 / 3, 0, 1, 1.0 / 3, 1, 0, -1}, out.toDoubles(), 0.002);
  }

  @Test
  void gradientsAreSetOrAdded() {
    sums.packed().copyFrom(11, 0, 23, 0.1);
    Tensor gamma = f64(Shape.of(2), 1, 1);
    Tensor beta = b.of(Shape.of(2), 1, 1);
    b.norm().gradients(sums, new Affine(gamma, null), Write.ADD);
    assertValues(gamma, 24, 1.1);
    b.norm().gradients(sums, new Affine(null, beta), Write.SET);
    assertValues(beta, 11, 0);
    b.norm().gradients(sums, new Affine(null, beta), Write.ADD);
    assertValues(beta, 22, 0);
    sums.packed().copyFrom(0, 0, 0.1, 0.2);
    Tensor f32 = b.empty(Shape.of(2), DType.F32);
    b.norm().gradients(sums, new Affine(f32, null), Write.SET);
    assertArrayEquals(new float[] {0.1f, 0.2f}, f32.toFloats());
  }

  @Test
  void commitByMomentum() {
    b.norm().forward(x, affine, EPS, Activation.NONE, null, saved, y);
    Running unbiased =
        Data.running(b, new double[] {8, 2}, new double[] {3, 1}, b.scalar(0.25), true);
    Running biased =
        Data.running(b, new double[] {8, 2}, new double[] {3, 1}, b.scalar(0.25), false);
    b.norm().commit(List.of(saved, saved), List.of(unbiased, biased));
    assertValues(unbiased.mean(), 7, 2);
    assertValues(unbiased.variance(), 0.75 * 3 + 0.25 * 20 / 3, 0.75);
    assertValues(biased.mean(), 7, 2);
    assertValues(biased.variance(), 0.75 * 3 + 0.25 * 5, 0.75);
    assertEquals(1, biased.count().toLongs()[0]);
  }

  @Test
  void commitCumulative() {
    Running r = Data.running(b, new double[] {99, 99}, new double[] {99, 99}, null, false);
    double[] shifts = {0, 3, 30};
    double[] expected = {4, 5.5, 15};
    for (int k = 0; k < 3; k++) {
      double mean = 4 + shifts[k];
      Moments m = Moments.of(f64(Shape.of(5), 4, mean, 2, 20 * (k + 1), 0));
      b.norm().coefficients(m, affine, EPS, saved);
      b.norm().commit(List.of(saved), List.of(r));
      assertEquals(k + 1, r.count().toLongs()[0]);
      assertEquals(expected[k], r.mean().toDoubles()[0], 1e-14);
      assertEquals(5 + 2.5 * k, r.variance().toDoubles()[0], 1e-14);
    }
  }

  @Test
  void commitPassesByWhatHasNoVariance() {
    Running r = Data.running(b, new double[] {8, 2}, new double[] {3, 1}, b.scalar(0.25), true);
    for (double count : new double[] {0, 1}) {
      Moments m = Moments.of(f64(Shape.of(5), count, 4, 2, 0, 0));
      b.norm().coefficients(m, affine, EPS, saved);
      b.norm().commit(List.of(saved), List.of(r));
    }
    assertValues(r.mean(), 8, 2);
    assertValues(r.variance(), 3, 1);
    assertEquals(0, r.count().toLongs()[0]);
    b.norm().coefficients(Moments.of(f64(Shape.of(5), 2, 4, 2, 10, 0)), affine, EPS, saved);
    b.norm().commit(List.of(saved), List.of(r));
    assertValues(r.mean(), 7, 2);
    assertValues(r.variance(), 0.75 * 3 + 0.25 * 10, 0.75);
  }
}
