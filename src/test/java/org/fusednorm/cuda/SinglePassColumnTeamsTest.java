package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;
import org.fusednorm.cuda.SinglePassColumns.Run;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which teams take which runs, on both sides of every border. */
class SinglePassColumnTeamsTest {
  private static NormPlan plan(Direction d, Shape s, DType t, boolean gate, int architecture) {
    return NormPlan.of(d, s, t, 16, gate, architecture);
  }

  private static Optional<SinglePassColumnTeams> team(Direction d, Shape s, DType t, int of) {
    return plan(d, s, t, false, of).ways.stream()
        .filter(w -> w.name().equals("cg_grid"))
        .map(w -> (SinglePassColumnTeams) w.single())
        .findFirst();
  }

  /** Channels and vectors of a run, and the most rows of a block, if any; 0 vectors: none. */
  @ParameterizedTest
  @CsvSource({
    // Channels last: as wide as it goes, narrower where there are too many rows.
    "90, FORWARD, F32, 64, 1, 32, 8, 1664",
    "90, BACKWARD, F32, 64, 1, 32, 8, 832",
    "90, FORWARD, BF16, 256, 1, 64, 8, 1664",
    "90, BACKWARD, F16, 256, 1, 64, 8, 832",
    "100, FORWARD, F32, 64, 1, 32, 8, 1664",
    "100, BACKWARD, BF16, 64, 1, 64, 8, 832",
    "120, FORWARD, F32, 64, 1, 32, 8, 640",
    "120, BACKWARD, F32, 64, 1, 32, 8, 320",
    // No more channels than that; a last run of fewer.
    "90, FORWARD, F32, 8, 1, 8, 2, 6656",
    "90, FORWARD, F32, 4, 1, 4, 1, 13312",
    "90, FORWARD, F32, 72, 1, 32, 8, 1664",
    "90, BACKWARD, F16, 24, 1, 32, 4, 1664",
    // Planes of no whole vectors, or of an odd number of them.
    "90, FORWARD, F32, 2048, 49, 8, 98, 130",
    "90, BACKWARD, F32, 2048, 49, 4, 49, 130",
    "90, FORWARD, BF16, 2048, 49, 8, 49, 260",
    "90, BACKWARD, F16, 1024, 196, 2, 49, 130",
    "90, FORWARD, F32, 1024, 196, 2, 98, 130",
    "90, FORWARD, F32, 64, 169, 4, 169, 78",
    "90, BACKWARD, F16, 8, 255, 8, 255, 26",
  })
  void capacity(
      int architecture,
      Direction d,
      DType t,
      long channels,
      long inner,
      int ofRun,
      int vectors,
      long most) {
    for (int blocks = 2; blocks <= 128; blocks *= 2) {
      for (long rows : new long[] {1, blocks * most - 1, blocks * most, blocks * most + 1}) {
        SinglePassColumnTeams s =
            team(d, Shape.ncl(rows, channels, inner), t, architecture).orElse(null);
        String what = d + " " + t + " " + rows + " rows on sm_" + architecture;
        if (rows > 128 * most) {
          assertTrue(s == null || s.run.vectors() < vectors, what);
          continue;
        }
        int wanted = rows == 1 ? 2 : rows > blocks * most ? 2 * blocks : blocks;
        assertEquals(new Run(ofRun, vectors), s.run, what);
        assertEquals(wanted, s.team(), what);
        assertEquals(tensors(d) * s.rounds * 512 * 16, s.sharedBytes(), what);
        assertTrue(s.rounds * (512 / vectors) * wanted >= rows, what);
        assertTrue((s.rounds - 1) * (512 / vectors) * wanted < rows, what);
      }
    }
  }

  private static int tensors(Direction d) {
    return d == Direction.FORWARD ? 1 : 2;
  }

  /** The most rows of runs of 128, 64 and 32 bytes, and what is left behind them. */
  @ParameterizedTest
  @CsvSource({
    "90, F32, FORWARD, 212992, 425984, 851968",
    "90, F32, BACKWARD, 106496, 212992, 425984",
    "100, BF16, FORWARD, 212992, 425984, 851968",
    "90, F16, BACKWARD, 106496, 212992, 425984",
    "120, F32, FORWARD, 81920, 163840, 327680",
    "120, F32, BACKWARD, 40960, 81920, 163840",
  })
  void narrowerRunsOfMoreRows(
      int architecture, DType t, Direction d, long wide, long narrow, long narrowest) {
    int unit = 16 / t.bytes();
    long[] borders = {wide, narrow, narrowest};
    for (int i = 0; i < borders.length; i++) {
      int vectors = 8 >> i;
      for (long rows : new long[] {borders[i] - 1, borders[i]}) {
        SinglePassColumnTeams s = team(d, Shape.nc(rows, 256), t, architecture).orElseThrow();
        assertEquals(new Run(vectors * unit, vectors), s.run);
        assertEquals(128, s.team());
      }
    }
    Shape more = Shape.nc(narrowest + 1, 256);
    assertEquals("tickets", plan(d, more, t, false, architecture).ways.get(0).name());
  }

  /** The rule's choice: behind clusters, before tickets. */
  @Test
  void clustersComeFirst() {
    List<String> ways =
        plan(Direction.FORWARD, Shape.nc(8192, 64), DType.F32, false, 90).ways.stream()
            .map(Way::name)
            .toList();
    assertEquals(List.of("cols_c16", "cg_grid", "tickets", "parts"), ways);
    for (Direction d : Direction.values()) {
      Shape s = Shape.nhwc(32, 56, 56, 256);
      assertEquals("cg_grid", plan(d, s, DType.BF16, false, 90).ways.get(0).name());
      assertEquals("tickets", plan(d, s, DType.BF16, false, 89).ways.get(0).name());
    }
    // Planes of whole vectors have teams of their own.
    assertFalse(team(Direction.BACKWARD, Shape.ncl(9, 4, 64), DType.F32, 90).isPresent());
    assertFalse(team(Direction.FORWARD, Shape.nc(9, 13), DType.F32, 90).isPresent());
    assertFalse(team(Direction.FORWARD, Shape.nc(9, 16), DType.F64, 90).isPresent());
  }

  /** Teams take turns at runs; there are no more than runs, or than the GPU has room for. */
  @ParameterizedTest
  @CsvSource({"132, 32, 2", "132, 64, 4", "132, 65, 6", "132, 4096, 132", "4, 4096, 4", "1, 64, 2"})
  void blocks(int multiprocessors, long channels, long blocks) {
    SinglePassColumnTeams s =
        team(Direction.FORWARD, Shape.nc(3000, channels), DType.F32, 90).orElse(null);
    if (channels % 4 != 0) {
      assertEquals(null, s);
      s = team(Direction.FORWARD, Shape.nc(3000, channels + 3), DType.F32, 90).orElseThrow();
    }
    assertEquals(2, s.team());
    assertEquals(blocks, s.blocks(multiprocessors));
  }

  @Test
  void turnsAreCounted() {
    long most = (1L << 20) * 32;
    assertTrue(team(Direction.FORWARD, Shape.nc(2, most), DType.F32, 90).isPresent());
    assertFalse(team(Direction.FORWARD, Shape.nc(2, most + 4), DType.F32, 90).isPresent());
  }

  /** As with clusters: a gate's byte has two vectors of F32. */
  @Test
  void gateOfSharedBytesLeavesTheSums() {
    for (Shape s : List.of(Shape.nc(9000, 12), Shape.ncl(300, 4, 7))) {
      Way way = plan(Direction.FORWARD, s, DType.F32, true, 90).ways.get(0);
      NormPlan backward = plan(Direction.BACKWARD, s, DType.F32, true, 90);
      assertFalse(way.single().whole, s.toString());
      assertTrue(backward.ways.get(0).single().whole, s.toString());
    }
    NormPlan even = plan(Direction.FORWARD, Shape.nc(20000, 16), DType.F32, true, 90);
    assertEquals("cg_grid", even.ways.get(0).name());
    assertTrue(even.ways.get(0).single().whole);
    NormPlan odd = plan(Direction.FORWARD, Shape.nc(20000, 12), DType.F32, true, 90);
    assertEquals("cg_grid", odd.ways.get(0).name());
    assertFalse(odd.ways.get(0).single().whole);
  }
}
