package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The same bits for any number of threads, and from run to run. */
class ThreadCountTest {
  private static final int[] THREADS = {1, 2, 3, 5, 2};

  static Stream<Shape> shapes() {
    return Stream.of(
        Shape.nc(5000, 33),
        Shape.nc(300, 2100),
        Shape.nchw(6, 70, 33, 35),
        Shape.nchw(3, 2, 211, 199),
        Shape.nchw(1, 1, 777, 333),
        Shape.nchw(100, 48, 7, 7),
        Shape.nhwc(9, 30, 31, 17));
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void normalization(Shape s) {
    for (DType t : List.of(DType.F32, DType.BF16, DType.F64)) {
      List<double[]> first = null;
      for (int threads : THREADS) {
        List<double[]> now = step(s, t, threads);
        if (first == null) {
          first = now;
        }
        for (int i = 0; i < now.size(); i++) {
          assertArrayEquals(
              first.get(i), now.get(i), "output " + i + " of " + s + " " + t + ", " + threads);
        }
      }
    }
  }

  private static List<double[]> step(Shape s, DType t, int threads) {
    int n = (int) s.elements();
    try (Backend b = TestBackends.over(new CpuEngine(threads));
        Scope m = b.scope()) {
      Tensor x = Values.tensor(m, s, t, Values.normal(t, 1, n, 3, 2));
      Tensor dy = Values.tensor(m, s, t, Values.normal(t, 2, n, 0, 1));
      Tensor residual = Values.tensor(m, s, t, Values.normal(t, 3, n, 0, 1));
      Tensor y = m.empty(s, t);
      Tensor dx = m.empty(s, t);
      Tensor dResidual = m.empty(s, t);
      Saved saved = Saved.empty(m, s, t, true);
      Sums sums = Sums.empty(m, s.channels());
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, residual, saved, y);
      b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, dResidual);
      List<double[]> out = new ArrayList<>();
      for (Tensor o : List.of(y, dx, dResidual, saved.mean(), saved.variance(), sums.packed())) {
        out.add(o.toDoubles());
      }
      return out;
    }
  }

  @Test
  void matrixProductsAndSums() {
    for (DType t : List.of(DType.F32, DType.F64)) {
      List<double[]> first = null;
      for (int threads : THREADS) {
        List<double[]> now = maths(t, threads);
        if (first == null) {
          first = now;
        }
        for (int i = 0; i < now.size(); i++) {
          assertArrayEquals(first.get(i), now.get(i), "output " + i + ", threads " + threads);
        }
      }
    }
  }

  private static List<double[]> maths(DType t, int threads) {
    try (Backend b = TestBackends.over(new CpuEngine(threads));
        Scope m = b.scope()) {
      Shape shape = Shape.of(300, 1000);
      Tensor x = Values.tensor(m, shape, t, Values.normal(t, 1, 300_000, 0, 1));
      Tensor w = Values.tensor(m, shape, t, Values.normal(t, 2, 300_000, 0, 1));
      Tensor square = m.empty(Shape.of(300, 300), t);
      Tensor wide = m.empty(Shape.of(1000, 1000), t);
      b.math().matmul(x, false, w, true, square, Write.SET);
      b.math().matmul(x, true, w, false, wide, Write.SET);
      Tensor norm = m.zeros(Shape.of(1), DType.F64);
      b.math().squaredNorm(x, norm, Write.SET);
      Tensor loss = m.zeros(Shape.of(1), DType.F64);
      Tensor labels = m.zeros(Shape.of(300), DType.I64);
      Tensor d = m.empty(shape, t);
      b.math().softmaxCrossEntropy(x, labels, loss, d);
      b.math().activate(Nonlinearity.SIGMOID, x, x);
      // Few rows: parts by columns, of 16 where b is transposed.
      Tensor few = m.empty(Shape.of(60, 100), t);
      b.math().matmul(x.batch(0, 60), false, w.batch(0, 100), true, few, Write.SET);
      Tensor product = m.empty(Shape.of(60, 100), t);
      Tensor weights = Values.tensor(m, Shape.of(100, 100), t, Values.normal(t, 4, 10_000, 0, 1));
      b.math().matmul(few, false, weights, false, product, Write.SET);
      return List.of(
          few.toDoubles(),
          product.toDoubles(),
          square.toDoubles(),
          wide.toDoubles(),
          norm.toDoubles(),
          loss.toDoubles(),
          d.toDoubles(),
          x.toDoubles());
    }
  }
}
