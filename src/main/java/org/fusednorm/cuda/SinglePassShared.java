package org.fusednorm.cuda;

import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * {@code cuda/single_pass_shared.cu}: a channel lies in the shared memory of a cluster or, where it
 * is too large for that, of a team of blocks across the GPU, which takes one channel after another.
 * With two stages the next channel is copied to the chip all the while a channel is worked at; with
 * one it follows as the results leave.
 *
 * <table>
 * <caption>Most bytes of a channel, outer x inner elements, for each block that shares it</caption>
 * <tr><th>GPU</th><th>stages</th><th>forward</th><th>backward</th></tr>
 * <tr><td>sm_90, sm_100</td><td>2</td><td>113 KiB</td><td>56.5 KiB</td></tr>
 * <tr><td>sm_90, sm_100</td><td>1</td><td>226 KiB</td><td>113 KiB</td></tr>
 * <tr><td>sm_120</td><td>2</td><td>49 KiB</td><td>24.5 KiB</td></tr>
 * <tr><td>sm_120</td><td>1</td><td>98 KiB</td><td>49 KiB</td></tr>
 * </table>
 *
 * Kinds sr_c1, sr_c2, sr_c4, sr_c8 and sr_c16, the number being that of the blocks of a cluster of
 * 512 threads each, and sg_grid, a team of as many blocks as two stages take, a power of two from 2
 * to 128. Planes of whole vectors and at least {@value #FEWEST_BYTES} bytes, or one channel alone.
 * Clusters come before teams, two stages before one, then the smaller cluster before the larger.
 *
 * <p>The blocks of a team wait for each other, so that all of the grid have to be on the GPU at a
 * time: see {@link Teams}.
 */
final class SinglePassShared extends SinglePass {
  private static final int THREADS = 512;
  private static final Kind TEAM = new Kind("sg", "grid", THREADS, 1);

  static final List<Kind> KINDS =
      Stream.concat(Stream.of(1, 2, 4, 8, 16).map(SinglePassShared::kind), Stream.of(TEAM))
          .toList();

  /** Each part of a plane is a copy of its own: smaller ones would be too many. */
  private static final int FEWEST_BYTES = 256;

  /** Shared memory that the kernels declare, rounded up to what leaves shares of whole warps. */
  private static final int DECLARED = 1 << 10;

  // The struct Planes.
  final long share;
  private final long units;
  private final long inner;
  private final long channels;

  /** Blocks that share a channel. */
  private final int together;

  /** Tensors that a block holds. */
  private final int tensors;

  final int stages;

  private SinglePassShared(Kind kind, Data d) {
    super(kind, d, !d.writesGate() || d.run() % Byte.SIZE == 0);
    inner = d.run() / d.unit();
    units = d.planes() * inner;
    channels = d.channels();
    tensors = d.direction() == Direction.FORWARD ? 1 : 2;
    long half = sharedBytes(d.architecture()) / 2 / (tensors * VECTOR) / WARP * WARP;
    together = kind != TEAM ? kind.cluster() : teamOf(ceiling(units, half));
    share = ceiling(ceiling(units, together), WARP) * WARP;
    stages = 2 * stageBytes() <= sharedBytes(d.architecture()) ? 2 : 1;
  }

  private static Kind kind(int cluster) {
    return new Kind("sr", "c" + cluster, THREADS, cluster);
  }

  /** Shared memory of a block that is there for data. */
  private static int sharedBytes(int architecture) {
    return sharedMemory(architecture) - DECLARED;
  }

  private long stageBytes() {
    return tensors * share * VECTOR;
  }

  static Stream<SinglePassShared> fitting(Data d) {
    if (d.architecture() < CLUSTERS
        || !d.hasVectors()
        || d.run() % d.unit() != 0
        || d.run() * d.type().bytes() < FEWEST_BYTES
        || d.planes() * (d.run() / d.unit()) > MOST / Math.max(1, d.channels())) {
      return Stream.of();
    }
    return KINDS.stream()
        .map(k -> new SinglePassShared(k, d))
        .filter(s -> s.stageBytes() <= sharedBytes(d.architecture()))
        .filter(s -> s.kind != TEAM || d.channels() <= MOST_TURNS)
        .sorted(Comparator.comparing(s -> s.kind == TEAM ? 0 : -s.stages));
  }

  @Override
  long blocks(int multiprocessors) {
    return Math.min(channels, Math.max(1, multiprocessors / together)) * together;
  }

  @Override
  int team() {
    return kind == TEAM ? together : 0;
  }

  @Override
  int sharedBytes() {
    return (int) (stages * stageBytes());
  }

  @Override
  boolean readsAhead() {
    return stages == 2;
  }

  /** Struct Planes, as {@link SinglePassPlanes#write}, without what it divides planes by. */
  @Override
  void write(Kernel k, long values) {
    long rest = THREADS % inner;
    k.arg(units).arg(share).arg(inner).arg(channels).arg(0);
    k.arg(rest).arg(THREADS / inner * channels * inner + rest);
    k.arg(values).arg(1.0 / values).arg((long) stages);
    if (kind == TEAM) {
      k.arg((long) together).team();
    }
  }
}
