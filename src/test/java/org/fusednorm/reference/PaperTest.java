package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What Ioffe and Szegedy 2015 (arXiv 1502.03167) prove about batch normalization. */
class PaperTest {
  private final Backend b = Backends.open("reference");

  @AfterEach
  void close() {
    b.close();
  }

  /** z = BN(u W) with its gradients by u and by W, for one upstream gradient. */
  private final class Network {
    final Tensor z = b.empty(Shape.nc(8, 3), DType.F64);
    final Tensor du = b.empty(Shape.of(8, 4), DType.F64);
    final Tensor dw = b.empty(Shape.of(4, 3), DType.F64);

    Network(Tensor u, Tensor w, double eps) {
      Shape s = z.shape();
      Tensor x = b.empty(s, DType.F64);
      Tensor dx = b.empty(s, DType.F64);
      Saved saved = Saved.empty(b, s, DType.F64, false);
      Affine affine = Data.affine(b, 3, 3);
      b.math().matmul(u, false, w, false, x, Write.SET);
      b.norm().forward(x, affine, eps, Activation.NONE, null, saved, z);
      Tensor dz = Data.random(b, s, 4);
      b.norm().backward(dz, x, saved, Activation.NONE, Sums.empty(b, 3), dx, null);
      b.math().matmul(dx, false, w, true, du, Write.SET);
      b.math().matmul(u, true, dx, false, dw, Write.SET);
    }
  }

  /** Section 3.3; by a power of two nothing is rounded anywhere, so it holds to the bit. */
  @ParameterizedTest
  @ValueSource(doubles = {4, 0x1p-30, 3.7, 1e-3})
  void scaleOfTheWeightsDoesNotMatter(double a) {
    Tensor u = Data.random(b, Shape.of(8, 4), 1);
    double[] weights = Data.values(12, 2);
    Tensor w = Data.f64(b, Shape.of(4, 3), weights);
    Tensor scaled = Data.f64(b, Shape.of(4, 3), Arrays.stream(weights).map(v -> a * v).toArray());
    Network plain = new Network(u, w, 0);
    Network big = new Network(u, scaled, 0);
    double tolerance = a == Math.scalb(1.0, Math.getExponent(a)) ? 0 : 2e-14;
    // BN((aW)u) = BN(Wu)
    assertArrayEquals(plain.z.toDoubles(), big.z.toDoubles(), tolerance);
    // d BN((aW)u) / du = d BN(Wu) / du
    assertArrayEquals(plain.du.toDoubles(), big.du.toDoubles(), tolerance);
    // d BN((aW)u) / d(aW) = 1/a d BN(Wu) / dW
    double[] dw = Arrays.stream(big.dw.toDoubles()).map(v -> a * v).toArray();
    assertArrayEquals(plain.dw.toDoubles(), dw, tolerance);
  }

  /** Algorithm 1: the normalized values have mean 0 and variance v / (v + eps). */
  @Test
  void normalizedValuesHaveMeanZeroAndVarianceOne() {
    Shape s = Shape.nchw(3, 2, 5, 4);
    Tensor x = Data.random(b, s, 5);
    Tensor y = b.empty(s, DType.F64);
    Saved saved = Saved.empty(b, s, DType.F64, false);
    for (double eps : new double[] {0, 0.5}) {
      b.norm().forward(x, Affine.NONE, eps, Activation.NONE, null, saved, y);
      double[] v = y.toDoubles();
      for (int c = 0; c < 2; c++) {
        double sum = 0;
        double squares = 0;
        for (int i = 0; i < v.length; i++) {
          if (i / 20 % 2 == c) {
            sum += v[i];
            squares += v[i] * v[i];
          }
        }
        double variance = saved.variance().toDoubles()[c];
        assertEquals(0, sum, 1e-13);
        assertEquals(variance / (variance + eps), squares / 60, 1e-14);
      }
    }
  }

  /**
   * The gradient is orthogonal to both directions that normalization takes out: sum dx = 0, and sum
   * dx xhat = 0 for eps 0, in general a sumDyXhat eps invstd^2.
   */
  @ParameterizedTest
  @ValueSource(doubles = {0, 0.3})
  void gradientsAreOrthogonalToShiftAndScale(double eps) {
    Shape s = Shape.nc(9, 2);
    Tensor x = Data.random(b, s, 6);
    Tensor dx = b.empty(s, DType.F64);
    Saved saved = Saved.empty(b, s, DType.F64, false);
    Sums sums = Sums.empty(b, 2);
    b.norm().forward(x, Data.affine(b, 2, 7), eps, Activation.RELU, null, saved, dx);
    b.norm().backward(Data.random(b, s, 8), x, saved, Activation.RELU, sums, dx, null);
    double[] in = x.toDoubles();
    double[] gradient = dx.toDoubles();
    for (int c = 0; c < 2; c++) {
      double mean = saved.mean().toDoubles()[c];
      double invstd = saved.invstd().toDoubles()[c];
      double sum = 0;
      double sumXhat = 0;
      for (int i = c; i < in.length; i += 2) {
        sum += gradient[i];
        sumXhat += gradient[i] * (in[i] - mean) * invstd;
      }
      double scale = saved.scale().toDoubles()[c];
      assertEquals(0, sum, 1e-14);
      assertEquals(scale * sums.dyXhat().toDoubles()[c] * eps * invstd * invstd, sumXhat, 1e-14);
    }
  }

  /** Algorithm 2: E[x] is the mean of the batch means, Var[x] m/(m-1) that of the variances. */
  @Test
  void populationStatisticsThroughTheCumulativeAverage() {
    Shape s = Shape.nc(5, 2);
    double eps = 1e-3;
    Affine affine = Data.affine(b, 2, 9);
    Running r = Data.running(b, new double[2], new double[2], null, true);
    Saved saved = Saved.empty(b, s, DType.F64, false);
    Tensor y = b.empty(s, DType.F64);
    double[] expectation = new double[2];
    double[] variance = new double[2];
    int batches = 7;
    for (int k = 0; k < batches; k++) {
      double[] v = Data.values(10, 20 + k);
      b.norm().forward(Data.f64(b, s, v), affine, eps, Activation.NONE, null, saved, y);
      b.norm().commit(List.of(saved), List.of(r));
      for (int c = 0; c < 2; c++) {
        double mean = (v[c] + v[c + 2] + v[c + 4] + v[c + 6] + v[c + 8]) / 5;
        double squares = 0;
        for (int i = c; i < 10; i += 2) {
          squares += (v[i] - mean) * (v[i] - mean);
        }
        expectation[c] += mean / batches;
        variance[c] += squares / 5 * (5.0 / 4) / batches;
      }
    }
    assertArrayEquals(expectation, r.mean().toDoubles(), 1e-14);
    assertArrayEquals(variance, r.variance().toDoubles(), 1e-14);

    double[] in = Data.values(10, 30);
    b.norm().infer(Data.f64(b, s, in), r, affine, eps, Activation.NONE, null, y);
    double[] gamma = affine.gamma().toDoubles();
    double[] beta = affine.beta().toDoubles();
    double[] out = y.toDoubles();
    for (int i = 0; i < 10; i++) {
      int c = i % 2;
      double std = Math.sqrt(variance[c] + eps);
      // Line 11 of algorithm 2.
      double line11 = gamma[c] / std * in[i] + (beta[c] - gamma[c] * expectation[c] / std);
      assertEquals(line11, out[i], 1e-13);
    }
  }
}
