package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Cut;
import org.fusednorm.cuda.NormPlan.Direction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which entries are chosen at the borders of every rule, and that the cut covers the data. */
class NormPlanTest {
  private static NormPlan plan(Direction d, Shape s, DType t, int alignment, boolean gate) {
    return NormPlan.of(d, s, t, alignment, gate, 90);
  }

  @ParameterizedTest
  @CsvSource({
    // Planes of whole vectors, and one element too many or too few; 0: channels last.
    "F32, FORWARD, 3, 8, 16, false, forward_f32, normalize_columns_f32",
    "F32, FORWARD, 3, 4, 16, false, forward_f32, normalize_columns_f32",
    "F32, FORWARD, 3, 4, 16, true, forward_f32, normalize_f32",
    "F32, FORWARD, 3, 8, 16, true, forward_f32, normalize_columns_f32",
    "F32, FORWARD, 3, 7, 16, false, moments_scalar, normalize_f32",
    "F32, FORWARD, 3, 9, 16, true, moments_scalar, normalize_f32",
    "F32, FORWARD, 3, 8, 8, false, moments_scalar, normalize_scalar",
    "F32, FORWARD, 12, 0, 16, false, forward_f32, normalize_columns_f32",
    "F32, FORWARD, 12, 0, 16, true, forward_f32, normalize_f32",
    "F32, FORWARD, 16, 0, 16, true, forward_f32, normalize_columns_f32",
    "F32, FORWARD, 13, 0, 16, false, moments_scalar, normalize_f32",
    "F32, FORWARD, 12, 0, 4, false, moments_scalar, normalize_scalar",
    "F16, FORWARD, 3, 8, 16, true, forward_half, normalize_columns_half",
    "BF16, FORWARD, 3, 4, 16, true, moments_scalar, normalize_half",
    "BF16, FORWARD, 3, 8, 8, false, moments_scalar, normalize_scalar",
    "F16, FORWARD, 8, 0, 16, true, forward_half, normalize_columns_half",
    "F16, FORWARD, 12, 0, 16, false, moments_scalar, normalize_half",
    "F64, FORWARD, 3, 8, 16, true, moments_f64, normalize_f64",
    // Backward reads the gate only; its vectors of 16-bit types have 8 bytes.
    "F32, BACKWARD, 3, 4, 16, true, backward_f32, backward_f32",
    "F32, BACKWARD, 3, 4, 8, true, gradient_sums_scalar, input_gradient_scalar",
    "F32, BACKWARD, 13, 0, 16, true, gradient_sums_scalar, input_gradient_f32",
    "F16, BACKWARD, 3, 4, 8, true, backward_half, backward_half",
    "BF16, BACKWARD, 3, 6, 16, false, gradient_sums_scalar, input_gradient_half",
    "BF16, BACKWARD, 3, 4, 4, false, gradient_sums_scalar, input_gradient_scalar",
    "F64, BACKWARD, 4, 0, 8, true, gradient_sums_f64, input_gradient_f64",
    // One channel is one plane, whatever its layout.
    "F32, FORWARD, 1, 0, 16, true, forward_f32, normalize_columns_f32",
  })
  void entries(
      DType t,
      Direction d,
      long channels,
      long inner,
      int alignment,
      boolean gate,
      String sums,
      String elements) {
    Shape s = inner == 0 ? Shape.nc(40, channels) : Shape.ncl(5, channels, inner);
    NormPlan p = plan(d, s, t, alignment, gate);
    // Backward never writes a gate, so whole bytes do not matter to it.
    assertEquals(sums, p.sums);
    assertEquals(elements, p.elements);
    assertEquals(sums.equals(elements) || elements.startsWith("normalize_columns"), p.tickets);
    assertTrue(CudaNorm.ENTRIES.containsAll(List.of(p.sums, p.elements)));
  }

  @Test
  void alignmentIsThatOfTheWorstAddress() {
    assertEquals(16, NormPlan.alignment(0));
    assertEquals(16, NormPlan.alignment(256 | 48));
    assertEquals(8, NormPlan.alignment(256 | 24));
    assertEquals(2, NormPlan.alignment(256 | 6));
    assertEquals(1, NormPlan.alignment(3));
  }

  @Test
  void slicesCoverEveryUnitInWholeRounds() {
    for (int architecture : new int[] {75, 80, 86, 89, 90, 100, 120}) {
      for (long outer : new long[] {1, 2, 31, 1000, 1L << 33}) {
        for (long channels : new long[] {1, 3, 4, 8, 64, 2048, 100_000}) {
          for (long inner : new long[] {1, 2, 16, 49, 3136, 1L << 20}) {
            if (outer * inner > 1L << 40) {
              continue;
            }
            Shape s = Shape.ncl(outer, channels, inner);
            NormPlan p = NormPlan.of(Direction.FORWARD, s, DType.F32, 16, false, architecture);
            covers(s, p.cut, architecture);
          }
        }
      }
    }
  }

  private static void covers(Shape s, Cut c, int architecture) {
    String what = s + " on sm_" + architecture;
    long lanes = NormPlan.THREADS / c.width;
    assertEquals(s.elements(), c.outer * c.columns * c.inner * c.unit, what);
    assertEquals(NormPlan.THREADS, lanes * c.width, what);
    assertEquals(0, c.slice % lanes, what);
    assertTrue(c.slice <= 16 * lanes, what);
    assertTrue(c.slices * c.slice >= c.outer * c.inner, what);
    assertTrue((c.slices - 1) * c.slice < c.outer * c.inner, what);
    assertTrue(!c.fold || c.width == 1, what);
    assertTrue(c.width * (c.fold ? 1 : c.unit) <= 64, what);
    assertEquals(s.valuesPerChannel(), (c.slices - 1) * c.values() + c.lastValues(), what);
  }

  /** As on the products that stand for the architectures: what S and A of a phase read. */
  @Test
  void twoPhasesFitIntoTheL2() {
    for (int architecture : new int[] {75, 80, 86, 89, 90, 100, 120}) {
      GpuModel gpu = GpuModel.of(architecture);
      for (Direction d : Direction.values()) {
        for (DType t : List.of(DType.F32, DType.BF16)) {
          for (Shape s : List.of(Shape.nchw(32, 256, 56, 56), Shape.nchw(32, 64, 28, 28))) {
            NormPlan p = NormPlan.of(d, s, t, 16, false, architecture);
            long read = s.bytes(t) * (d == Direction.FORWARD ? 1 : 2);
            long phase = read / p.cut.groups() * p.phase(gpu.multiprocessors());
            assertTrue(
                2 * phase <= gpu.cacheBytes(), d + " " + t + " " + s + " sm_" + architecture);
          }
        }
      }
    }
  }

  @Test
  void emptyData() {
    for (Shape s : List.of(Shape.nc(0, 4), Shape.ncl(2, 3, 0), Shape.nc(3, 0))) {
      NormPlan p = plan(Direction.FORWARD, s, DType.F32, 16, true);
      assertEquals(0, p.cut.slices * p.cut.columns, s.toString());
      assertEquals(false, p.tickets);
    }
  }
}
