package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.fusednorm.testing.Values.threshold;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What kernels of a single pass do beside the straight way: channels that F32 does not hold, and
 * stages of shared memory that are filled while they empty. Each test has an engine of its own, for
 * one kind of kernel. Run by {@link CudaNormTest} under checks.
 */
class EngineSinglePass {
  private static final double TIGHT = threshold(DType.F32);
  private static final float HUGE = 1e38f;

  /**
   * Most channels are as usual.
   *
   * @param every so many channels one has an outlier first, or a gradient whose sums are beyond F32
   */
  private record Data(Shape shape, int every, boolean residual) {
    int channel(int i) {
      return (int) (i / shape.inner() % shape.channels());
    }

    boolean isHard(int i) {
      return channel(i) % every == every - 1;
    }

    /** About the first value all others cancel out. */
    double[] x() {
      double[] v = normal(DType.F32, 1, (int) shape.elements(), 1, 2);
      long row = shape.channels() * shape.inner();
      for (int i = 0; i < v.length && i < row; i++) {
        if (isHard(i) && i % shape.inner() == 0) {
          v[i] = 1e8;
        }
      }
      return v;
    }

    /** Two positive ones are beyond F32. */
    double[] dy() {
      double[] v = normal(DType.F32, 2, (int) shape.elements(), 0, 1);
      for (int i = 0; i < v.length; i++) {
        if (isHard(i)) {
          v[i] = v[i] < 0.5 ? 2 * HUGE : -HUGE;
        }
      }
      return v;
    }
  }

  private static <T> T with(String kind, Function<Backend, T> work) {
    String setting = "fusednorm.cuda.single-pass";
    System.setProperty(setting, kind);
    try (Backend b = EngineMemory.open()) {
      return work.apply(b);
    } finally {
      System.clearProperty(setting);
    }
  }

  private static List<double[]> forward(Backend b, Data d) {
    Shape s = d.shape();
    try (Scope m = b.scope()) {
      Tensor x = tensor(m, s, DType.F32, d.x());
      Tensor y = m.empty(s, DType.F32);
      Saved saved = Saved.empty(m, s, DType.F32, d.residual());
      Tensor residual = d.residual() ? tensor(m, s, DType.F32, d.x()) : null;
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, residual, saved, y);
      return List.of(y.toDoubles(), saved.mean().toDoubles(), saved.invstd().toDoubles());
    }
  }

  /** Gradients in units of the largest of a channel; sums in those of all. */
  private static List<double[]> backward(Backend b, Data d) {
    Shape s = d.shape();
    int n = (int) s.elements();
    try (Scope m = b.scope()) {
      Tensor x = tensor(m, s, DType.F32, normal(DType.F32, 1, n, 1, 2));
      Tensor dy = tensor(m, s, DType.F32, d.dy());
      Tensor dx = m.empty(s, DType.F32);
      Tensor dResidual = d.residual() ? m.empty(s, DType.F32) : null;
      Saved saved = Saved.empty(m, s, DType.F32, false);
      Sums sums = Sums.empty(m, s.channels());
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, saved, m.empty(s, DType.F32));
      b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, dResidual);
      double[] gradient = dx.toDoubles();
      for (int i = 0; i < n; i++) {
        gradient[i] /= d.isHard(i) ? HUGE : 1;
      }
      double[] packed = sums.packed().toDoubles();
      for (int i = 0; i < packed.length; i++) {
        double unit = i % s.channels() % d.every() == d.every() - 1 ? HUGE : 1;
        packed[i] /= unit * s.valuesPerChannel();
      }
      return List.of(gradient, packed);
    }
  }

  private static void agree(String kind, Function<Backend, List<double[]>> work) {
    List<double[]> expected;
    try (Backend b = Backends.open("reference")) {
      expected = work.apply(b);
    }
    List<double[]> first = null;
    for (int[] schedule : new int[][] {{0, 0}, {1, 30}, {2, 10}}) {
      if (!Emulator.onDevice()) {
        Emulator.schedule(schedule[0], schedule[1]);
      }
      List<double[]> actual = with(kind, work);
      if (first == null) {
        first = actual;
      }
      for (int i = 0; i < expected.size(); i++) {
        String what = kind + ", output " + i;
        assertClose(what, expected.get(i), actual.get(i), 2 * TIGHT);
        assertArrayEquals(first.get(i), actual.get(i), 0, what + " under another schedule");
      }
    }
  }

  /**
   * Channels that F32 does not hold beside some that it does. Rows: runs of 32 channels, of which
   * the last has fewer; planes that are no vectors.
   */
  @ParameterizedTest
  @CsvSource({
    "rr_small, 3, 3, 40",
    "rr_c2, 9, 3, 136",
    "cols_c1, 100, 72, 1",
    "cols_c2, 100, 72, 1",
    "cols_c2, 60, 8, 7",
    "sr_c1, 9, 9, 136",
    "sr_c2, 9, 5, 136",
    "sg_grid, 9, 5, 136",
    "cg_grid, 100, 136, 1",
    "cg_grid, 60, 24, 7",
    "cg_grid, 261, 4, 49", // of four blocks backward, so that the order of sums shows
  })
  void whatF32DoesNotHold(String kind, int outer, int channels, int inner) {
    Shape s = inner == 1 ? Shape.nc(outer, channels) : Shape.ncl(outer, channels, inner);
    agree(kind, b -> forward(b, new Data(s, 3, false)));
    agree(kind, b -> backward(b, new Data(s, 3, false)));
  }

  /** One stage of shared memory, in which one channel's copies follow another one's results. */
  @Test
  void stageThatFillsAsItEmpties() {
    agree("sr_c1", b -> forward(b, new Data(Shape.ncl(114, 9, 256), 100, true)));
    agree("sr_c1", b -> backward(b, new Data(Shape.ncl(57, 9, 256), 100, true)));
  }

  /** Channels that F32 holds are read once. */
  @ParameterizedTest
  @ValueSource(strings = {"rr_small", "sr_c1", "cols_c1"})
  void whatF32HoldsIsNotDoneAgain(String kind) {
    assumeFalse(Emulator.onDevice(), "nobody counts accesses");
    Shape s =
        switch (kind) {
          case "rr_small" -> Shape.ncl(2, 2, 1024);
          case "sr_c1" -> Shape.ncl(3, 2, 2048);
          default -> Shape.nc(512, 8);
        };
    List<Function<Data, Function<Backend, List<double[]>>>> both = new ArrayList<>();
    both.add(d -> b -> forward(b, d));
    both.add(d -> b -> backward(b, d));
    for (var half : both) {
      long straight = accesses(kind, half.apply(new Data(s, 100, false)));
      long again = accesses(kind, half.apply(new Data(s, 1, false)));
      String what = straight + " accesses, and " + again + " where F32 does not hold the channels";
      assertTrue(straight + s.elements() < again, what);
    }
  }

  private static long accesses(String kind, Function<Backend, List<double[]>> work) {
    long before = Emulator.count(Count.ACCESSES);
    with(kind, work);
    return Emulator.count(Count.ACCESSES) - before;
  }
}
