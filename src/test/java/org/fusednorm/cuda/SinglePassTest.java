package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;
import org.fusednorm.cuda.SinglePass.Kind;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which kernel of a single pass is chosen on both sides of every border. */
class SinglePassTest {
  private static List<String> ways(Direction d, Shape s, DType t, int alignment, int architecture) {
    return NormPlan.of(d, s, t, alignment, false, architecture).ways.stream()
        .map(Way::name)
        .toList();
  }

  /** Channels of this many vectors in planes of one or of several. */
  private static Stream<Shape> channelsOf(long vectors, DType t) {
    long unit = SinglePass.VECTOR / t.bytes();
    Shape wide = Shape.ncl(1, 3, vectors * unit);
    return vectors % 2 == 0
        ? Stream.of(wide, Shape.nchw(vectors / 2, 5, 2, unit))
        : Stream.of(wide);
  }

  private static Kind kind(String text) {
    return SinglePasses.KINDS.stream().filter(k -> k.text().equals(text)).findFirst().orElseThrow();
  }

  /** The capacities in bytes that the table of {@link SinglePassPlanes} has. */
  @ParameterizedTest
  @CsvSource({
    "FORWARD, small, 16384",
    "FORWARD, c1, 65536",
    "FORWARD, c2, 131072",
    "FORWARD, c4, 262144",
    "FORWARD, c8, 524288",
    "FORWARD, c16, 1048576",
    "BACKWARD, small, 8192",
    "BACKWARD, c1, 32768",
    "BACKWARD, c2, 65536",
    "BACKWARD, c4, 131072",
    "BACKWARD, c8, 262144",
    "BACKWARD, c16, 524288",
  })
  void capacity(Direction d, String size, long bytes) {
    Kind kind = kind("rr_" + size);
    long most = bytes / SinglePass.VECTOR;
    List<Kind> kinds = SinglePassPlanes.KINDS;
    String larger = size.equals("c16") ? "tickets" : kinds.get(kinds.indexOf(kind) + 1).text();
    for (DType t : List.of(DType.F32, DType.F16, DType.BF16)) {
      for (int architecture : new int[] {75, 80, 86, 89, 90, 100, 120}) {
        boolean there = kind.cluster() == 1 || architecture >= 90;
        boolean largerThere = architecture >= 90 || size.equals("small");
        for (long vectors : new long[] {most - 1, most, most + 1}) {
          String wanted =
              vectors <= most ? there ? kind.text() : "tickets" : largerThere ? larger : "tickets";
          channelsOf(vectors, t)
              .forEach(
                  s ->
                      assertEquals(
                          wanted,
                          withoutShared(ways(d, s, t, 16, architecture)).get(0),
                          d + " " + s + " " + t + " sm_" + architecture));
        }
      }
    }
  }

  private static List<String> withoutShared(List<String> ways) {
    return ways.stream().filter(w -> !w.matches("s[rg]_.*")).toList();
  }

  /** The capacities in bytes that the table of {@link SinglePassShared} has. */
  @ParameterizedTest
  @CsvSource({
    "90, FORWARD, 115712, 231424",
    "90, BACKWARD, 57856, 115712",
    "100, FORWARD, 115712, 231424",
    "100, BACKWARD, 57856, 115712",
    "120, FORWARD, 50176, 100352",
    "120, BACKWARD, 25088, 50176",
  })
  void sharedMemory(int architecture, Direction d, long ofTwo, long ofOne) {
    for (DType t : List.of(DType.F32, DType.F16, DType.BF16)) {
      for (int cluster : new int[] {1, 2, 4, 8, 16}) {
        long two = ofTwo / SinglePass.VECTOR * cluster;
        long one = ofOne / SinglePass.VECTOR * cluster;
        for (long vectors : new long[] {1, two - 1, two, two + 1, one - 1, one, one + 1}) {
          Shape s = Shape.ncl(1, 3, Math.max(vectors, 16) * SinglePass.VECTOR / t.bytes());
          int stages =
              NormPlan.of(d, s, t, 16, false, architecture).ways.stream()
                  .filter(w -> w.name().equals("sr_c" + cluster))
                  .mapToInt(w -> ((SinglePassShared) w.single()).stages)
                  .sum();
          int wanted = vectors <= two ? 2 : vectors <= one ? 1 : 0;
          assertEquals(wanted, stages, s + " " + t + " in a cluster of " + cluster);
        }
      }
    }
  }

  /** KiB of a channel, or a byte more than so many, and the rule's choice. */
  @ParameterizedTest
  @CsvSource({
    "512, rr_c8, sr_c8",
    "904, sr_c8, sr_c16",
    "1808, sr_c16, sr_c16",
    "3616, sr_c16, sg_grid",
    "14464, sg_grid, sg_grid",
    "28928, sg_grid, tickets",
  })
  void largeChannels(long kib, String wanted, String behind) {
    for (Direction d : Direction.values()) {
      long vectors = (kib << 10) / SinglePass.VECTOR / (d == Direction.FORWARD ? 1 : 2);
      Shape fits = Shape.ncl(2, 3, vectors / 2 * 4);
      Shape larger = Shape.ncl(1, 3, (vectors + 1) * 4);
      assertEquals(wanted, ways(d, fits, DType.F32, 16, 90).get(0), d + " " + fits);
      assertEquals(behind, ways(d, larger, DType.F32, 16, 90).get(0), d + " " + larger);
      assertEquals("tickets", ways(d, larger, DType.F32, 16, 89).get(0));
    }
  }

  /** KiB of a channel and what a team for it is. */
  @ParameterizedTest
  @CsvSource({
    "1, 2, 2",
    "226, 2, 2",
    "227, 4, 2",
    "3616, 32, 2",
    "3617, 64, 2",
    "7233, 128, 2",
    "14464, 128, 2",
    "14465, 128, 1",
    "28928, 128, 1",
  })
  void teams(long kib, int team, int stages) {
    for (Direction d : Direction.values()) {
      long vectors = (kib << 10) / SinglePass.VECTOR / (d == Direction.FORWARD ? 1 : 2);
      Shape s = Shape.ncl(1, 3, vectors * 4);
      SinglePassShared single =
          NormPlan.of(d, s, DType.F32, 16, false, 90).ways.stream()
              .filter(w -> w.name().equals("sg_grid"))
              .map(w -> (SinglePassShared) w.single())
              .findFirst()
              .orElseThrow();
      assertEquals(team, single.team());
      assertEquals(stages, single.stages);
      assertEquals(Math.min(3, Math.max(1, 132 / team)) * team, single.blocks(132));
      assertTrue(single.share * team >= vectors);
    }
  }

  @Test
  void smallPlanesAreTooManyCopies() {
    Shape enough = Shape.ncl(1 << 12, 3, 64); // 1 MiB in planes of 256 bytes
    Shape small = Shape.ncl(1 << 12, 3, 60);
    assertEquals("sr_c16", ways(Direction.FORWARD, enough, DType.F32, 16, 90).get(0));
    assertEquals("rr_c16", ways(Direction.FORWARD, small, DType.F32, 16, 90).get(0));
  }

  /** As many clusters as the GPU has room for, or fewer. */
  @ParameterizedTest
  @CsvSource({"132, 64, 128", "148, 64, 144", "132, 3, 48", "4, 64, 16"})
  void sharedMemoryGoesFromChannelToChannel(int multiprocessors, long channels, long blocks) {
    Shape s = Shape.ncl(1, channels, 1 << 18); // 1 MiB
    SinglePass single =
        NormPlan.of(Direction.FORWARD, s, DType.F32, 16, false, 90).ways.get(0).single();
    assertEquals("sr_forward_f32_c16", single.entry);
    assertEquals(blocks, single.blocks(multiprocessors));
    assertEquals(2 << 16, single.sharedBytes());
  }

  @Test
  void largerClustersAndTheOtherWaysFollow() {
    Shape s = Shape.nchw(32, 64, 28, 28); // 98 KiB
    assertEquals(
        List.of(
            "rr_c2", "rr_c4", "rr_c8", "sr_c1", "sr_c2", "sr_c4", "sr_c8", "sr_c16", "sg_grid",
            "rr_c16", "tickets", "parts"),
        ways(Direction.FORWARD, s, DType.F32, 16, 90));
    assertEquals(List.of("tickets", "parts"), ways(Direction.FORWARD, s, DType.F32, 16, 89));
  }

  @ParameterizedTest
  @CsvSource({
    // Unaligned; rows of no whole vectors; runs of too many; a type of 8 bytes.
    "F32, 8, 5, 3, 16",
    "F32, 8, 5, 4, 7",
    "F32, 8, 64, 32, 1",
    "F32, 16, 5, 3, 7",
    "F16, 16, 5, 3, 196",
    "F16, 16, 5, 12, 1",
    "F32, 16, 5, 4, 257",
    "F16, 16, 5, 8, 257",
    "F64, 16, 5, 3, 16",
    "F64, 16, 5, 4, 7",
  })
  void others(DType t, int alignment, long outer, long channels, long inner) {
    Shape s = Shape.ncl(outer, channels, inner);
    for (Direction d : Direction.values()) {
      for (String way : ways(d, s, t, alignment, 90)) {
        assertTrue(List.of("tickets", "parts").contains(way), way);
      }
    }
  }

  @Test
  void oneChannelIsOnePlane() {
    assertEquals("rr_small", ways(Direction.FORWARD, Shape.nc(64, 1), DType.F32, 16, 90).get(0));
    assertEquals("parts", ways(Direction.FORWARD, Shape.nc(63, 1), DType.F32, 16, 90).get(0));
  }

  @Test
  void vectorsAreCountedIn31Bits() {
    Shape most = Shape.ncl(1, (1L << 29) - 1, 16); // 4 vectors in a channel
    Shape more = Shape.ncl(1, 1L << 29, 16);
    assertEquals("rr_small", ways(Direction.FORWARD, most, DType.F32, 16, 90).get(0));
    assertEquals(
        "tickets",
        ways(Direction.FORWARD, more, DType.F32, 16, 90).get(0).replace("parts", "tickets"));
    // Blocks too.
    Shape channels = Shape.ncl(1, 1L << 28, 8);
    assertFalse(ways(Direction.FORWARD, channels, DType.F32, 16, 90).contains("rr_c8"));
    assertTrue(ways(Direction.FORWARD, channels, DType.F32, 16, 90).contains("rr_c4"));
  }

  @Test
  void gateOfSharedBytesLeavesTheSums() {
    Shape half = Shape.ncl(4, 3, 12);
    Shape whole = Shape.ncl(4, 3, 16);
    NormPlan p = NormPlan.of(Direction.FORWARD, half, DType.F32, 16, true, 90);
    assertEquals("rr_small", p.ways.get(0).name());
    assertFalse(p.ways.get(0).single().whole);
    assertEquals("normalize_f32", p.elements);
    assertTrue(first(Direction.FORWARD, whole, true).whole);
    assertTrue(first(Direction.FORWARD, half, false).whole);
    assertTrue(first(Direction.BACKWARD, half, true).whole);
  }

  private static SinglePass first(Direction d, Shape s, boolean gate) {
    return NormPlan.of(d, s, DType.F32, 16, gate, 90).ways.get(0).single();
  }

  @Test
  void sharesOfBlocksCoverAChannelInWholeWarps() {
    for (long vectors : new long[] {1, 31, 32, 33, 1000, 4096, 65536}) {
      for (Way w :
          NormPlan.of(Direction.FORWARD, Shape.ncl(1, 2, 4 * vectors), DType.F32, 16, false, 90)
              .ways) {
        if (w.single() instanceof SinglePassPlanes s) {
          assertEquals(0, s.share % 32);
          assertTrue(s.share * s.kind.cluster() >= vectors);
          assertTrue(s.share <= s.kind.threads() * 8L, s.entry + " " + vectors);
          assertEquals(2L * s.kind.cluster(), s.blocks(132));
        }
      }
    }
  }

  @Test
  void entriesHaveNamesOfTheirOwn() {
    assertEquals(2 * 3 * SinglePasses.KINDS.size(), SinglePasses.ENTRIES.size());
    assertEquals(SinglePasses.ENTRIES.size(), new HashSet<>(SinglePasses.ENTRIES).size());
    assertTrue(SinglePasses.ENTRIES.contains("rr_backward_bf16_c16"));
    assertTrue(SinglePasses.ENTRIES.contains("rr_forward_f32_small"));
  }
}
