package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;
import org.fusednorm.cuda.SinglePass.Kind;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How rows are cut into runs, and which kernel takes them on both sides of every border. */
class SinglePassColumnsTest {
  private static List<String> ways(Direction d, Shape s, DType t, int architecture) {
    return NormPlan.of(d, s, t, 16, false, architecture).ways.stream().map(Way::name).toList();
  }

  private static SinglePass first(Direction d, Shape s, boolean gate) {
    return NormPlan.of(d, s, DType.F32, 16, gate, 90).ways.get(0).single();
  }

  /** Vectors of a run, its channels, and the most rows in a single block. */
  @ParameterizedTest
  @CsvSource({
    // 7 x 7 and 14 x 14; others of as many vectors as a run can have, or of few; half the rows
    // backward, where an odd number of vectors will do.
    "FORWARD, F32, 2048, 49, 98, 8, 16",
    "BACKWARD, F32, 2048, 49, 49, 4, 20",
    "FORWARD, F32, 4, 49, 49, 4, 40",
    "BACKWARD, F32, 4, 49, 49, 4, 20",
    "FORWARD, F32, 12, 49, 98, 8, 16",
    "BACKWARD, F32, 12, 49, 49, 4, 20",
    "FORWARD, F16, 2048, 49, 49, 8, 40",
    "BACKWARD, F16, 2048, 49, 49, 8, 20",
    "FORWARD, BF16, 1024, 196, 49, 2, 40",
    "BACKWARD, BF16, 1024, 196, 49, 2, 20",
    "FORWARD, F32, 64, 169, 169, 4, 8",
    "BACKWARD, F32, 64, 169, 169, 4, 4",
    "FORWARD, F32, 4, 255, 255, 4, 8",
    "BACKWARD, F32, 4, 255, 255, 4, 4",
    "FORWARD, F16, 8, 255, 255, 8, 8",
    "BACKWARD, F16, 8, 255, 255, 8, 4",
    "FORWARD, F32, 8, 3, 6, 8, 336",
    "BACKWARD, F32, 8, 3, 6, 8, 168",
    "FORWARD, F32, 64, 3, 12, 16, 168",
    "BACKWARD, F32, 64, 3, 12, 16, 84",
    "FORWARD, F32, 64, 2, 8, 16, 256",
    "BACKWARD, F32, 64, 2, 8, 16, 128",
    // Planes of whole vectors: of an odd number, forward.
    "FORWARD, F32, 1024, 196, 98, 2, 16",
    "FORWARD, F32, 2, 12, 6, 2, 336",
    "FORWARD, F32, 64, 4, 8, 8, 256",
    // Channels last.
    "FORWARD, F32, 4, 1, 1, 4, 2048",
    "BACKWARD, F32, 4, 1, 1, 4, 1024",
    "FORWARD, F32, 8, 1, 2, 8, 1024",
    "BACKWARD, F32, 8, 1, 2, 8, 512",
    "FORWARD, F32, 64, 1, 8, 32, 256",
    "BACKWARD, F32, 64, 1, 8, 32, 128",
    "FORWARD, F32, 20, 1, 8, 32, 256",
    "BACKWARD, F32, 20, 1, 8, 32, 128",
    "FORWARD, F16, 64, 1, 8, 64, 256",
    "BACKWARD, F16, 64, 1, 8, 64, 128",
    "FORWARD, F16, 2048, 1, 8, 64, 256",
    "BACKWARD, F16, 2048, 1, 8, 64, 128",
    "FORWARD, F16, 24, 1, 4, 32, 512",
    "BACKWARD, F16, 24, 1, 4, 32, 256",
  })
  void columns(Direction d, DType t, long channels, long inner, int vectors, int ofRun, long most) {
    for (int architecture : new int[] {75, 80, 86, 89, 90, 100, 120}) {
      for (Kind kind : SinglePassColumns.KINDS) {
        long rows = most * kind.cluster();
        for (long n = rows - 1; n <= rows && kind.isIn(architecture); n++) {
          Shape s = Shape.ncl(n, channels, inner);
          SinglePass first = first(d, s, t, architecture);
          String what = d + " " + s + " sm_" + architecture;
          assertEquals(kind.text(), first.kind.text(), what);
          assertEquals(
              new SinglePassColumns.Run(ofRun, vectors), ((SinglePassColumns) first).run, what);
        }
      }
    }
  }

  /** Planes of whole vectors that a row has no even number of, or whose runs would be too long. */
  @ParameterizedTest
  @CsvSource({
    "FORWARD, 3, 12",
    "FORWARD, 2, 676",
    "FORWARD, 2, 8",
    "BACKWARD, 2, 196",
    "FORWARD, 1, 196"
  })
  void planesOfWholeVectorsAreNotCut(Direction d, long channels, long inner) {
    for (String way : ways(d, Shape.ncl(4, channels, inner), DType.F32, 90)) {
      assertFalse(way.startsWith("cols"), way);
    }
  }

  /** Narrower runs where those cannot hold all rows, then teams or none. */
  @ParameterizedTest
  @CsvSource({
    "90, F32, FORWARD, 64, 1, 4096, 8192",
    "90, F32, BACKWARD, 64, 1, 2048, 4096",
    "90, F16, FORWARD, 128, 1, 4096, 8192",
    "75, BF16, FORWARD, 128, 1, 256, 512",
    "75, F32, BACKWARD, 64, 1, 128, 256",
    // As narrow as they are, and no narrower.
    "90, F32, FORWARD, 16, 1, 8192, 8192",
    "90, F32, FORWARD, 16, 49, 256, 256",
  })
  void rowsBeyondTheLargestCluster(
      int architecture, DType t, Direction d, long channels, long inner, long wide, long narrow) {
    int of = vectorsOfRun(d, Shape.ncl(wide, channels, inner), t, architecture);
    if (narrow > wide) {
      assertEquals(of / 2, vectorsOfRun(d, Shape.ncl(wide + 1, channels, inner), t, architecture));
      assertEquals(of / 2, vectorsOfRun(d, Shape.ncl(narrow, channels, inner), t, architecture));
    }
    for (String way : ways(d, Shape.ncl(narrow + 1, channels, inner), t, architecture)) {
      boolean team = architecture >= 90 && way.equals("cg_grid");
      assertTrue(team || List.of("tickets", "parts").contains(way), way);
    }
  }

  private static int vectorsOfRun(Direction d, Shape s, DType t, int architecture) {
    return ((SinglePassColumns) first(d, s, t, architecture)).run.vectors();
  }

  private static SinglePass first(Direction d, Shape s, DType t, int architecture) {
    return NormPlan.of(d, s, t, 16, false, architecture).ways.get(0).single();
  }

  @Test
  void vectorsOfRowsAreCountedIn31Bits() {
    Shape most = Shape.nc((1L << 29) - 1, 16); // 4 vectors in a row
    assertEquals("tickets", ways(Direction.FORWARD, most, DType.F32, 90).get(0));
    Shape wide = Shape.nc(1, (1L << 33) - 4);
    assertFalse(ways(Direction.FORWARD, wide, DType.F32, 90).get(0).startsWith("cols"));
    Shape fits = Shape.nc(1, (1L << 31) - 4);
    assertEquals("cols_c1", ways(Direction.FORWARD, fits, DType.F32, 90).get(0));
  }

  /** A gate's byte has eight elements: two vectors of F32. */
  @Test
  void gateOfSharedBytesLeavesTheSumsOfColumnsToo() {
    assertTrue(first(Direction.FORWARD, Shape.ncl(9, 8, 7), true).whole);
    assertTrue(first(Direction.FORWARD, Shape.ncl(9, 2, 196), true).whole);
    assertFalse(first(Direction.FORWARD, Shape.ncl(9, 4, 7), true).whole); // runs of 7
    assertFalse(first(Direction.FORWARD, Shape.ncl(9, 12, 7), true).whole); // rows of 21
    assertFalse(first(Direction.FORWARD, Shape.nc(9, 4), true).whole);
    assertTrue(first(Direction.FORWARD, Shape.ncl(9, 4, 7), false).whole);
    assertTrue(first(Direction.BACKWARD, Shape.ncl(9, 4, 7), true).whole);
    NormPlan half = NormPlan.of(Direction.FORWARD, Shape.ncl(9, 8, 7), DType.F16, 16, true, 90);
    assertTrue(half.ways.get(0).single().whole);
    // Sums are the same whether there is a gate or not.
    SinglePass with = first(Direction.FORWARD, Shape.ncl(9, 12, 7), true);
    SinglePass without = first(Direction.FORWARD, Shape.ncl(9, 12, 7), false);
    assertEquals(((SinglePassColumns) with).run, ((SinglePassColumns) without).run);
  }
}
