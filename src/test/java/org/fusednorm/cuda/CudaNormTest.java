package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.Emulator.Build;
import org.fusednorm.cuda.Emulator.Count;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.SinglePass.Kind;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** The normalization kernels through the engine, each group in a JVM on the emulator. */
class CudaNormTest {
  private static final String FORCED = "-Dfusednorm.cuda.single-pass=";

  /** The rule prefers shared memory. */
  private static final Kind C16 = SinglePassPlanes.KINDS.get(5);

  @TestFactory
  Stream<DynamicTest> smallShapesUnderSeveralSchedules() throws Exception {
    return tests(Build.CHECKED, EngineNorm.class, "-Dshapes=small", FORCED + "off");
  }

  @TestFactory
  Stream<DynamicTest> largerShapes() throws Exception {
    return tests(Build.PLAIN, EngineNorm.class, "-Dshapes=large", FORCED + "off");
  }

  @TestFactory
  Stream<DynamicTest> hardValuesAndSizes() throws Exception {
    return Stream.concat(
        tests(Build.PLAIN, EngineNormHard.class),
        tests(Build.PLAIN, EngineNormHard.class, FORCED + "off"));
  }

  @TestFactory
  Stream<DynamicTest> mergesAndCommits() throws Exception {
    return tests(Build.CHECKED, EngineMerges.class);
  }

  @TestFactory
  Stream<DynamicTest> edges() throws Exception {
    return tests(Build.CHECKED, EngineEdges.class, FORCED + "off");
  }

  /** Each half of a step in a launch of its own: the same bits. */
  @Test
  void ticketsSwitchedOff() throws Exception {
    String both = "-Dfusednorm.cuda.single-pass=off";
    String off = "-Dfusednorm.cuda.tickets=false";
    List<String> with = Emulator.run(Build.PLAIN, Bits.class, both).lines().toList();
    List<String> without = Emulator.run(Build.PLAIN, Bits.class, both, off).lines().toList();
    int last = with.size() - 1;
    assertEquals(with.subList(0, last), without.subList(0, last));
    if (!Emulator.onDevice()) {
      // Two launches against six: sums, what follows from them, elements, there and back.
      assertEquals("launches " + 2 * last, with.get(last));
      assertEquals("launches " + 6 * last, without.get(last));
    }
  }

  /** Prints what a training step gives for several kinds of data, and how many launches it took. */
  static final class Bits {
    public static void main(String[] args) {
      try (Backend b = EngineMemory.open()) {
        long launches = 0;
        for (Shape s : List.of(Shape.nc(700, 72), Shape.ncl(5, 3, 1024), Shape.ncl(1, 2, 16392))) {
          for (DType t : List.of(DType.F32, DType.F16, DType.BF16)) {
            for (boolean add : new boolean[] {false, true}) {
              launches += step(b, s, t, add);
            }
          }
        }
        System.out.println("launches " + launches);
      }
    }

    private static long step(Backend b, Shape s, DType t, boolean add) {
      try (Scope m = b.scope()) {
        Tensor x = tensor(m, s, t, normal(t, 1, (int) s.elements(), 1, 2));
        Tensor dy = tensor(m, s, t, normal(t, 2, (int) s.elements(), 0, 1));
        Tensor residual = add ? dy : null;
        Tensor y = m.empty(s, t);
        Tensor dx = m.empty(s, t);
        Tensor dResidual = add ? m.empty(s, t) : null;
        Saved saved = Saved.empty(m, s, t, add);
        Sums sums = Sums.empty(m, s.channels());
        b.synchronize();
        long before = Emulator.onDevice() ? 0 : Emulator.count(Count.LAUNCHES);
        b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, residual, saved, y);
        b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, dResidual);
        b.synchronize();
        long after = Emulator.onDevice() ? 0 : Emulator.count(Count.LAUNCHES);
        Stream<Tensor> all =
            Stream.of(y, dx, saved.mean(), saved.variance(), saved.invstd(), sums.packed());
        Stream<Tensor> more = add ? Stream.of(dResidual, saved.gate()) : Stream.of();
        System.out.println(
            Stream.concat(all, more)
                .map(tensor -> Integer.toHexString(Arrays.hashCode(tensor.toDoubles())))
                .collect(Collectors.joining(" ", "# " + s + " " + t + " ", "")));
        return after - before;
      }
    }
  }

  /**
   * Channels in the registers of a cluster, some blocks of which have next to nothing or nothing;
   * planes of whole vectors, others, and channels last with a narrower end.
   */
  @TestFactory
  Stream<DynamicTest> clustersUnderSeveralSchedules() throws Exception {
    List<DynamicTest> all = new ArrayList<>();
    for (String size : List.of("small", "c1", "c2", "c4")) {
      schedules("rr_" + size, "3x3x16,9x2x128").forEach(all::add);
    }
    schedules("rr_c8", "9x1x128").forEach(all::add);
    schedules("rr_c16", "9x1x128").forEach(all::add);
    schedules("cols_c1", "5x8x49,9x72x1").forEach(all::add);
    schedules("cols_c2", "5x8x7,9x72x1,5x2x12").forEach(all::add);
    schedules("cols_c4", "5x8x7").forEach(all::add);
    schedules("cols_c8", "9x24x1").forEach(all::add);
    schedules("cols_c16", "5x8x7").forEach(all::add);
    return all.stream();
  }

  private static Stream<DynamicTest> schedules(String kind, String shapes) throws Exception {
    return tests(Build.CHECKED, EngineNorm.class, "-Dshapes=" + shapes, FORCED + kind);
  }

  /**
   * Channels as large as each kernel of a single pass holds, a vector or row less, and one more; by
   * the rule's choice.
   */
  @TestFactory
  Stream<DynamicTest> channelsAsLargeAsClustersHold() throws Exception {
    List<DynamicTest> all = new ArrayList<>();
    for (List<DType> types : List.of(List.of(DType.F32), List.of(DType.F16, DType.BF16))) {
      String names = types.stream().map(DType::name).collect(Collectors.joining(","));
      String shapes = String.join(",", shapesAtBorders(types.get(0)));
      tests(Build.PLAIN, EngineNorm.class, "-Dtypes=" + names, "-Dshapes=" + shapes + ",large")
          .forEach(all::add);
      String of16 = "-Dshapes=" + String.join(",", planesAtBorders(C16, types.get(0))) + ",large";
      tests(Build.PLAIN, EngineNorm.class, "-Dtypes=" + names, of16, FORCED + C16.text())
          .forEach(all::add);
    }
    return all.stream();
  }

  /** Channels in shared memory, several for each cluster one after another. */
  @TestFactory
  Stream<DynamicTest> sharedMemoryUnderSeveralSchedules() throws Exception {
    List<DynamicTest> all = new ArrayList<>();
    tests(Build.CHECKED, EngineNorm.class, "-Dshapes=3x9x128", FORCED + "sr_c1").forEach(all::add);
    tests(Build.CHECKED, EngineNorm.class, "-Dshapes=9x5x136", FORCED + "sr_c2").forEach(all::add);
    tests(Build.CHECKED, EngineNorm.class, "-Dshapes=9x1x136", FORCED + "sr_c16").forEach(all::add);
    tests(Build.CHECKED, EngineNorm.class, "-Dshapes=3x5x128", FORCED + "sg_grid")
        .forEach(all::add);
    return all.stream();
  }

  /** Channels that teams of two and of four blocks hold, on a GPU of four multiprocessors. */
  @TestFactory
  Stream<DynamicTest> channelsOfTeams() throws Exception {
    String shapes = "-Dshapes=226x3x128,113x3x512,113x2x1024,large";
    return tests(Build.PLAIN, EngineNorm.class, shapes, FORCED + "sg_grid");
  }

  @TestFactory
  Stream<DynamicTest> hardValuesInSharedMemory() throws Exception {
    return tests(Build.PLAIN, EngineNormHard.class, FORCED + "sr_c2");
  }

  /**
   * Runs of rows in the shared memory of teams, several for each team one after another; and a team
   * of four blocks.
   */
  @TestFactory
  Stream<DynamicTest> columnsOfTeamsUnderSeveralSchedules() throws Exception {
    String two = "-Dshapes=5x24x7,70x136x1";
    String four = "-Dshapes=261x8x49";
    String team = FORCED + "cg_grid";
    return Stream.concat(
        tests(Build.CHECKED, EngineNorm.class, two, "-Dtypes=F32,BF16", team),
        tests(Build.PLAIN, EngineNorm.class, four, "-Dtypes=F32", team));
  }

  /**
   * As many rows as two and as four blocks hold of channels last, forward and backward, one less
   * and one more; planes of no whole vectors, and few channels.
   */
  @TestFactory
  Stream<DynamicTest> columnsAsLargeAsTeamsHold() throws Exception {
    List<DynamicTest> all = new ArrayList<>();
    List<String> shapes = new ArrayList<>();
    for (long rows : new long[] {2 * 832, 4 * 832, 4 * 1664}) {
      for (long n : aroundIt(rows)) {
        shapes.add(n + "x40x1");
      }
    }
    String named = "-Dshapes=" + String.join(",", shapes) + ",large";
    String halves = "-Dshapes=3327x72x1,3328x72x1,3329x72x1,large";
    String others = "-Dshapes=259x8x49,260x8x49,261x8x49,13313x8x1,large";
    String team = FORCED + "cg_grid";
    tests(Build.PLAIN, EngineNorm.class, named, "-Dtypes=F32", team).forEach(all::add);
    tests(Build.PLAIN, EngineNorm.class, halves, "-Dtypes=BF16", team).forEach(all::add);
    tests(Build.PLAIN, EngineNorm.class, others, "-Dtypes=F16", team).forEach(all::add);
    return all.stream();
  }

  /** Two stages of shared memory, one, or neither: at the borders of one block, and by the rule. */
  @TestFactory
  Stream<DynamicTest> channelsAsLargeAsSharedMemoryHolds() throws Exception {
    String block = "-Dshapes=113x5x128,57x5x512,113x5x256,113x2x512,227x1x256,large";
    return Stream.concat(
        tests(Build.PLAIN, EngineNorm.class, block, FORCED + "sr_c1"),
        tests(Build.PLAIN, EngineNorm.class, "-Dshapes=513x2x256,905x1x256,large"));
  }

  @TestFactory
  Stream<DynamicTest> besideTheStraightWay() throws Exception {
    return tests(Build.CHECKED, EngineSinglePass.class);
  }

  private static List<String> planesAtBorders(Kind kind, DType t) {
    return Stream.of(Direction.values())
        .flatMapToLong(d -> LongStream.of(aroundIt(SinglePassPlanes.capacity(kind, d))))
        .mapToObj(
            n -> {
              long planes = n % 2 == 0 ? n / 2 : factor(n);
              long elements = n / planes * (SinglePass.VECTOR / t.bytes());
              return planes + "x" + (n < 2050 ? 3 : 1) + "x" + elements;
            })
        .toList();
  }

  private static Set<String> shapesAtBorders(DType t) {
    Set<String> shapes = new LinkedHashSet<>();
    int unit = SinglePass.VECTOR / t.bytes();
    SinglePassPlanes.KINDS.stream()
        .filter(kind -> kind != C16)
        .forEach(kind -> shapes.addAll(planesAtBorders(kind, t)));
    for (Direction d : Direction.values()) {
      // Planes that are no vectors, or odd numbers of them; whole runs of channels last, and one
      // not.
      for (String row : List.of("8x49", "2x196", 8 * unit + "x1", 3 * unit + "x1")) {
        String[] sizes = row.split("x");
        Shape one = Shape.ncl(1, Long.parseLong(sizes[0]), Long.parseLong(sizes[1]));
        boolean taken = t == DType.F32 || sizes[1].length() < 3; // 2x196 is as 8x49 in 16 bits
        if (taken && first(d, one, t) instanceof SinglePassColumns columns) {
          for (Kind kind : SinglePassColumns.KINDS) {
            for (long rows : aroundIt(columns.run.capacity(kind, d))) {
              shapes.add(rows + "x" + row);
            }
          }
        }
      }
    }
    if (t == DType.F32) { // runs of half the width
      shapes.addAll(List.of("8191x32x1", "8192x32x1", "8193x32x1"));
    }
    return shapes;
  }

  private static SinglePass first(Direction d, Shape s, DType t) {
    return NormPlan.of(d, s, t, 16, false, 90).ways.get(0).single();
  }

  private static long[] aroundIt(long capacity) {
    return new long[] {capacity - 1, capacity, capacity + 1};
  }

  /** The smallest, or 1 of a prime number. */
  private static long factor(long odd) {
    for (long f = 3; f * f <= odd; f += 2) {
      if (odd % f == 0) {
        return f;
      }
    }
    return 1;
  }

  private static Stream<DynamicTest> tests(Build build, Class<?> part, String... options)
      throws Exception {
    return OnEmulator.tests(build, Map.of(), List.of(part), options);
  }
}
