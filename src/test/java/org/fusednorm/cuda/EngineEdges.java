package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.fusednorm.testing.Values.threshold;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.IntToDoubleFunction;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.Test;

/**
 * Data whose memory ends where a kernel's last thread could go too far, and values on the far side
 * of what a check lets through. Each test has an engine of its own: new memory, of exact sizes. Run
 * by {@link CudaNormTest} under checks.
 */
class EngineEdges {
  private static final double TIGHT = threshold(DType.F32);

  /** The same on both engines, within the limit. */
  private static void agree(double limit, BiFunction<Backend, Scope, List<Tensor>> work) {
    List<double[]> expected = results("reference", work);
    List<double[]> actual = results("cuda", work);
    for (int i = 0; i < expected.size(); i++) {
      assertClose("output " + i, expected.get(i), actual.get(i), limit);
    }
  }

  private static List<double[]> results(
      String name, BiFunction<Backend, Scope, List<Tensor>> work) {
    try (Backend b = name.equals("cuda") ? EngineMemory.open() : Backends.open(name);
        Scope m = b.scope()) {
      List<double[]> all = new ArrayList<>();
      for (Tensor t : work.apply(b, m)) {
        all.add(t.toDoubles());
      }
      return all;
    }
  }

  private static Tensor filled(Scope m, Shape s, DType t, IntToDoubleFunction value) {
    double[] v = new double[(int) s.elements()];
    Arrays.setAll(v, value);
    return tensor(m, s, t, v);
  }

  private static Tensor normalized(Backend b, Scope m, Tensor x, double eps) {
    Tensor y = m.empty(x.shape(), x.dtype());
    Saved saved = Saved.empty(m, x.shape(), x.dtype(), false);
    b.norm().forward(x, Affine.NONE, eps, Activation.NONE, null, saved, y);
    return y;
  }

  /** Rows of four share bytes of the gate, whose last one is the last of its memory. */
  @Test
  void gateOfWholeBytes() {
    Shape s = Shape.nc(1024, 4);
    agree(
        TIGHT,
        (b, m) -> {
          Tensor x = tensor(m, s, DType.F32, normal(DType.F32, 1, 4096, 1, 2));
          Tensor residual = tensor(m, s, DType.F32, normal(DType.F32, 2, 4096, 0, 1));
          Tensor y = m.empty(s, DType.F32);
          Tensor dx = m.empty(s, DType.F32);
          Saved saved = Saved.empty(m, s, DType.F32, true);
          Sums sums = Sums.empty(m, 4);
          b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, residual, saved, y);
          b.norm().backward(residual, x, saved, Activation.RELU, sums, dx, null);
          return List.of(y, dx);
        });
  }

  /** Elements behind the last eight are one block's alone. */
  @Test
  void inferenceInPlace() {
    Shape s = Shape.nc(1001, 3);
    agree(
        TIGHT,
        (b, m) -> {
          Tensor x = tensor(m, s, DType.F32, normal(DType.F32, 3, 3003, 1, 2));
          Running r = Running.moving(m, 3, 0.1, false);
          r.mean().copyFrom(1.0, 2.0, 3.0);
          b.norm().infer(x, r, Affine.NONE, 1e-5, Activation.NONE, null, x);
          return List.of(x);
        });
  }

  /** What x holds does not matter to dx if the statistics are constants. */
  @Test
  void constantStatistics() {
    for (Shape s : List.of(Shape.nc(96, 8), Shape.nchw(5, 3, 3, 3), Shape.ncl(4, 2, 64))) {
      int n = (int) s.elements();
      int channels = (int) s.channels();
      agree(
          TIGHT,
          (b, m) -> {
            double[] bad = {1, Double.NaN, Double.POSITIVE_INFINITY, -1e38};
            Tensor x = filled(m, s, DType.F32, i -> bad[i / 2 % 4]);
            Tensor dy = tensor(m, s, DType.F32, normal(DType.F32, 4, n, 0, 1));
            Tensor dx = m.empty(s, DType.F32);
            Saved saved = Saved.empty(m, s, DType.F32, false);
            Running r = Running.moving(m, channels, 0.1, false);
            b.norm().coefficients(r, Affine.NONE, 1e-5, saved);
            Sums sums = Sums.empty(m, channels);
            b.norm().backward(dy, x, saved, Activation.NONE, sums, dx, null);
            return List.of(dx);
          });
    }
  }

  /** One slice of rows has no use for room between blocks. */
  @Test
  void biasGradientOfOneRow() {
    agree(
        0,
        (b, m) -> {
          Tensor dy = m.empty(Shape.nc(1, 8200), DType.F32);
          dy.copyFrom(normal(DType.F32, 5, 8200, 0, 1));
          Tensor dbias = m.empty(Shape.of(8200), DType.F32);
          b.math().biasGradient(dy, dbias, Write.SET);
          return List.of(dbias);
        });
  }

  /** Parts of 48 channels and 256 slices are all that the workspace holds. */
  @Test
  void partsOfTheLastColumns() {
    Shape s = Shape.nc(4096, 48);
    agree(
        1e-12,
        (b, m) -> {
          Tensor x = m.empty(s, DType.F64).copyFrom(normal(DType.F64, 6, 48 * 4096, 1, 2));
          return List.of(normalized(b, m, x, 1e-5));
        });
  }

  /** A last slice of one row, which is the last of its memory. */
  @Test
  void oneRowInTheLastSlice() {
    Shape s = Shape.nc(512, 24);
    agree(
        1e-12,
        (b, m) -> {
          Tensor all = m.empty(s, DType.F64).copyFrom(normal(DType.F64, 7, 24 * 512, 1, 2));
          Tensor x = all.batch(512 - 17, 512);
          return List.of(normalized(b, m, x, 1e-5));
        });
  }

  /**
   * Squares beyond F32 or below it, about a first value from which all others cancel out or not.
   */
  @Test
  void squaresThatF32DoesNotHold() {
    List<IntToDoubleFunction> channels =
        List.of(
            row -> row % 3 == 0 ? -1e30 : row % 3 == 1 ? 0 : 1e30,
            row -> row % 3 == 0 ? 0 : row % 3 == 1 ? 1e30 : -1e30,
            row -> row % 3 == 0 ? 0 : 1e-25,
            row -> row);
    for (Shape s : List.of(Shape.nc(96, 4), Shape.nc(96, 3))) {
      int width = (int) s.channels();
      agree(
          TIGHT,
          (b, m) -> {
            Tensor x =
                filled(m, s, DType.F32, i -> channels.get(i % width).applyAsDouble(i / width));
            return List.of(normalized(b, m, x, 0));
          });
    }
  }

  /** Sums of gradients beyond F32: one of them, the other, both. */
  @Test
  void gradientsThatF32DoesNotHold() {
    for (Shape s : List.of(Shape.nc(96, 4), Shape.nc(96, 3))) {
      int width = (int) s.channels();
      agree(
          TIGHT,
          (b, m) -> {
            Tensor x =
                filled(m, s, DType.F32, i -> i % width == 0 ? 5 : 1e8 * (i / width % 2 * 2 - 1));
            Tensor dy =
                filled(
                    m, s, DType.F32, i -> i % width == 1 ? 3e38 * (i / width % 2 * 2 - 1) : 3e38);
            Saved saved = Saved.empty(m, s, DType.F32, false);
            Running r = Running.moving(m, width, 0.1, false);
            r.mean().copyFrom(Arrays.copyOf(new double[] {5, 0, 0, 0}, width));
            b.norm().coefficients(r, Affine.NONE, 1e-5, saved);
            Sums sums = Sums.empty(m, width);
            b.norm().gradientSums(dy, x, saved, Activation.NONE, sums);
            return List.of(sums.packed());
          });
    }
  }

  /** Each thread has several columns of a row, of which the first is by far the largest. */
  @Test
  void softmaxOfLargeLogits() {
    Shape s = Shape.nc(2, 1500);
    agree(
        TIGHT,
        (b, m) -> {
          Tensor logits = filled(m, s, DType.F32, i -> i % 1500 == 0 ? 1000 : i % 7);
          Tensor labels = m.empty(Shape.of(2), DType.I32).copyFrom(3L, 0L);
          Tensor loss = m.empty(Shape.of(1), DType.F64);
          b.math().softmaxCrossEntropy(logits, labels, loss, m.empty(s, DType.F32));
          return List.of(loss);
        });
  }
}
