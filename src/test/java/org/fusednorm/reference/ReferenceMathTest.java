package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The verbs of a training step on small cases computed by hand. */
class ReferenceMathTest {
  private final Backend b = Backends.open("reference");

  @AfterEach
  void close() {
    b.close();
  }

  private Tensor f64(Shape s, double... v) {
    return Data.f64(b, s, v);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "F16", "BF16", "F64"})
  void matmulWithEveryTransposition(DType t) {
    Tensor a = b.empty(Shape.of(2, 3), t).copyFrom(1.0, 2, 3, 4, 5, 6);
    Tensor at = b.empty(Shape.of(3, 2), t).copyFrom(1.0, 4, 2, 5, 3, 6);
    Tensor k = b.empty(Shape.of(3, 2), t).copyFrom(1.0, -1, 0, 2, 1, 1);
    Tensor kt = b.empty(Shape.of(2, 3), t).copyFrom(1.0, 0, 1, -1, 2, 1);
    Tensor c = b.empty(Shape.of(2, 2), t);
    double[] expected = {4, 6, 10, 12};
    b.math().matmul(a, false, k, false, c, Write.SET);
    assertArrayEquals(expected, c.toDoubles());
    b.math().matmul(at, true, k, false, c, Write.SET);
    assertArrayEquals(expected, c.toDoubles());
    b.math().matmul(a, false, kt, true, c, Write.SET);
    assertArrayEquals(expected, c.toDoubles());
    b.math().matmul(at, true, kt, true, c, Write.ADD);
    assertArrayEquals(new double[] {8, 12, 20, 24}, c.toDoubles());
  }

  @Test
  void matmulOverNothingIsZero() {
    Tensor c = f64(Shape.of(2, 2), 1, 2, 3, 4);
    Tensor a = b.empty(Shape.of(2, 0), DType.F64);
    Tensor k = b.empty(Shape.of(0, 2), DType.F64);
    b.math().matmul(a, false, k, false, c, Write.ADD);
    assertArrayEquals(new double[] {1, 2, 3, 4}, c.toDoubles());
    b.math().matmul(a, false, k, false, c, Write.SET);
    assertArrayEquals(new double[4], c.toDoubles());
  }

  @Test
  void biasAndItsGradient() {
    Tensor x = f64(Shape.of(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor bias = f64(Shape.of(3), 10, 20, 30);
    b.math().addBias(x, bias, x);
    assertArrayEquals(new double[] {11, 22, 33, 14, 25, 36}, x.toDoubles());
    b.math().biasGradient(x, bias, Write.ADD);
    assertArrayEquals(new double[] {35, 67, 99}, bias.toDoubles());
    b.math().biasGradient(x, bias, Write.SET);
    assertArrayEquals(new double[] {25, 47, 69}, bias.toDoubles());
  }

  @Test
  void activationsInPlace() {
    double nan = Double.NaN;
    Tensor x = f64(Shape.of(5), 0, Math.log(3), -800, 800, nan);
    b.math().activate(Nonlinearity.SIGMOID, x, x);
    assertArrayEquals(new double[] {0.5, 0.75, 0, 1, nan}, x.toDoubles(), 1e-15);
    b.math().activationGradient(Nonlinearity.SIGMOID, x, f64(Shape.of(5), 4, 16, 1, 1, 1), x);
    assertArrayEquals(new double[] {1, 3, 0, 0, nan}, x.toDoubles(), 1e-14);

    x.copyFrom(0, Math.log(3), -800, 800, nan);
    b.math().activate(Nonlinearity.TANH, x, x);
    assertArrayEquals(new double[] {0, 0.8, -1, 1, nan}, x.toDoubles(), 1e-15);
    b.math().activationGradient(Nonlinearity.TANH, x, f64(Shape.of(5), 1, 25, 1, 1, 1), x);
    assertArrayEquals(new double[] {1, 9, 0, 0, nan}, x.toDoubles(), 1e-13);

    x.copyFrom(-0.0, 3, -800, 800, nan);
    b.math().activate(Nonlinearity.RELU, x, x);
    assertArrayEquals(new double[] {0.0, 3, 0, 800, nan}, x.toDoubles());
    Tensor dy = f64(Shape.of(5), nan, 2, 3, 4, 5);
    b.math().activationGradient(Nonlinearity.RELU, x, dy, dy);
    assertArrayEquals(new double[] {0, 2, 0, 4, 5}, dy.toDoubles());
  }

  @Test
  void lossAndItsGradientOverTheLogits() {
    // softmax of 0, log 2, log 5 is 1/8, 2/8, 5/8, at any offset.
    Tensor logits =
        f64(Shape.of(2, 3), 0, Math.log(2), Math.log(5), -900, -900 + Math.log(2), -900);
    Tensor labels = b.empty(Shape.of(2), DType.I32).copyFrom(2L, 0);
    Tensor loss = b.empty(Shape.of(1), DType.F64);
    b.math().softmaxCrossEntropy(logits, labels, loss, logits);
    assertEquals((Math.log(8.0 / 5) + Math.log(4)) / 2, loss.toDoubles()[0], 1e-13);
    assertArrayEquals(
        new double[] {1 / 16.0, 2 / 16.0, -3 / 16.0, -3 / 8.0, 1 / 4.0, 1 / 8.0},
        logits.toDoubles(),
        1e-13);
  }

  @Test
  void lossOfHugeLogitsIsFinite() {
    Tensor logits = b.of(Shape.of(1, 2), 3e38f, -3e38f);
    Tensor labels = b.empty(Shape.of(1), DType.I64).copyFrom(0L);
    Tensor loss = b.empty(Shape.of(1), DType.F64);
    Tensor dlogits = b.empty(Shape.of(1, 2), DType.F32);
    b.math().softmaxCrossEntropy(logits, labels, loss, dlogits);
    assertEquals(0, loss.toDoubles()[0]);
    assertArrayEquals(new float[2], dlogits.toFloats());
    labels.copyFrom(1L);
    b.math().softmaxCrossEntropy(logits, labels, loss, dlogits);
    assertEquals(2.0 * 3e38f, loss.toDoubles()[0]);
    assertArrayEquals(new float[] {1, -1}, dlogits.toFloats());
  }

  @Test
  void correctCountsTheFirstOfEqualsAndNoRowWithNan() {
    double nan = Double.NaN;
    double inf = Double.POSITIVE_INFINITY;
    Tensor logits =
        f64(
            Shape.of(7, 3),
            1,
            3,
            2,
            5,
            5,
            1,
            5,
            5,
            1,
            nan,
            1,
            2,
            0,
            1,
            nan,
            -1,
            -inf,
            -inf,
            0,
            inf,
            0);
    Tensor labels = b.empty(Shape.of(7), DType.I64).copyFrom(1L, 0, 1, 0, 1, 0, 1);
    Tensor count = b.empty(Shape.of(1), DType.I64).copyFrom(10L);
    b.math().correct(logits, labels, count, Write.ADD);
    assertEquals(14, count.toLongs()[0]);
    b.math().correct(logits, labels, count, Write.SET);
    assertEquals(4, count.toLongs()[0]);
  }

  @Test
  void labelsOutsideAreNamedAndNothingIsWritten() {
    Tensor logits = f64(Shape.of(2, 3), 1, 2, 3, 4, 5, 6);
    Tensor loss = f64(Shape.of(1), 42);
    Tensor count = b.empty(Shape.of(1), DType.I64).copyFrom(42L);
    for (long bad : new long[] {-1, 3, 1L << 40}) {
      Tensor labels = b.empty(Shape.of(2), DType.I64).copyFrom(0L, bad);
      String text = "label " + bad + " in row 1 is not in 0..2";
      assertEquals(
          text,
          assertThrows(
                  IllegalArgumentException.class,
                  () -> b.math().softmaxCrossEntropy(logits, labels, loss, logits))
              .getMessage());
      assertEquals(
          text,
          assertThrows(
                  IllegalArgumentException.class,
                  () -> b.math().correct(logits, labels, count, Write.SET))
              .getMessage());
    }
    assertArrayEquals(new double[] {1, 2, 3, 4, 5, 6}, logits.toDoubles());
    assertEquals(42, loss.toDoubles()[0]);
    assertEquals(42, count.toLongs()[0]);
  }

  @Test
  void plainDescent() {
    Tensor value = f64(Shape.of(2), 1, -2);
    Tensor gradient = f64(Shape.of(2), 4, 8);
    try (Scalar rate = b.scalar(0.25);
        Scalar decay = b.scalar(0.5)) {
      b.math().sgd(value, gradient, null, rate, null, null);
      assertArrayEquals(new double[] {0, -4}, value.toDoubles());
      b.math().sgd(value, gradient, null, rate, null, decay);
      // 0 - (4 + 0) / 4 and -4 - (8 - 2) / 4
      assertArrayEquals(new double[] {-1, -5.5}, value.toDoubles());
    }
  }

  @Test
  void descentWithMomentumRoundsOnlyWhatItStores() {
    int n = 50;
    Tensor value = b.empty(Shape.of(n), DType.F32).copyFrom(Data.values(n, 1));
    Tensor gradient = b.empty(Shape.of(n), DType.F32).copyFrom(Data.values(n, 2));
    Tensor velocity = b.empty(Shape.of(n), DType.F32).copyFrom(Data.values(n, 3));
    float[] v = value.toFloats();
    float[] g = gradient.toFloats();
    float[] u = velocity.toFloats();
    try (Scalar rate = b.scalar(0.3);
        Scalar momentum = b.scalar(0.9);
        Scalar decay = b.scalar(0.01)) {
      b.math().sgd(value, gradient, velocity, rate, momentum, decay);
    }
    for (int i = 0; i < n; i++) {
      double step = g[i] + 0.01 * v[i] + 0.9 * u[i];
      u[i] = (float) step;
      v[i] = (float) (v[i] - 0.3 * step);
    }
    assertArrayEquals(u, velocity.toFloats());
    assertArrayEquals(v, value.toFloats());
  }

  @Test
  void gatherScalesBytesAndCopiesTheRest() {
    Tensor bytes = b.empty(Shape.of(3, 2), DType.U8).copyFrom(0L, 255, 51, 102, 1, 2);
    Tensor rows = b.empty(Shape.of(2), DType.I64).copyFrom(1L, 0);
    Tensor scaled = b.empty(Shape.of(2, 2), DType.F32);
    b.math().gather(bytes, rows, 1.0 / 255, scaled);
    assertArrayEquals(
        new float[] {(float) (51 / 255.0), (float) (102 / 255.0), 0, 1}, scaled.toFloats());

    Tensor labels = b.empty(Shape.of(3), DType.I32).copyFrom(7L, 8, 9);
    Tensor picked = b.empty(Shape.of(2), DType.I32);
    b.math().gather(labels, rows, 1, picked);
    assertArrayEquals(new long[] {8, 7}, picked.toLongs());

    Tensor f16 = b.empty(Shape.of(3, 1), DType.F16).copyFrom(1.5, 2.5, 3.5);
    Tensor out = b.empty(Shape.of(2, 1), DType.F16);
    b.math().gather(f16, rows, 1, out);
    assertArrayEquals(new float[] {2.5f, 1.5f}, out.toFloats());

    for (long bad : new long[] {-1, 3}) {
      rows.copyFrom(2, bad);
      IllegalArgumentException e =
          assertThrows(
              IllegalArgumentException.class, () -> b.math().gather(labels, rows, 1, picked));
      assertEquals("row " + bad + " at position 1 is not in 0..2", e.getMessage());
    }
    assertArrayEquals(new long[] {8, 7}, picked.toLongs());
  }

  @Test
  void squaredNorm() {
    Tensor out = b.empty(Shape.of(1), DType.F64);
    b.math().squaredNorm(b.of(Shape.of(3), 1, -2, 3), out, Write.SET);
    b.math().squaredNorm(b.of(Shape.of(2), 3e38f, 0), out, Write.ADD);
    assertEquals(14 + (double) 3e38f * 3e38f, out.toDoubles()[0]);
  }

  @Test
  void nothingAtAllIsLegal() {
    Shape none = Shape.of(0, 3);
    Tensor x = b.empty(none, DType.F32);
    Tensor labels = b.empty(Shape.of(0), DType.I64);
    Tensor loss = b.empty(Shape.of(1), DType.F64);
    Tensor count = b.empty(Shape.of(1), DType.I64);
    Tensor bias = b.of(Shape.of(3), 1, 2, 3);
    b.math().softmaxCrossEntropy(x, labels, loss, x);
    b.math().correct(x, labels, count, Write.SET);
    b.math().addBias(x, bias, x);
    b.math().activate(Nonlinearity.TANH, x, x);
    b.math().biasGradient(x, bias, Write.SET);
    assertEquals(0, loss.toDoubles()[0]);
    assertEquals(0, count.toLongs()[0]);
    assertArrayEquals(new float[3], bias.toFloats());
    b.math().squaredNorm(x, loss, Write.SET);
    assertEquals(0, loss.toDoubles()[0]);
  }
}
