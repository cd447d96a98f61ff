package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * {@code cuda/single_pass_planes.cu}: a channel lies in the registers of a cluster, {@value
 * #VECTOR} bytes in each of a few vectors of a thread.
 *
 * <table>
 * <caption>Most bytes of a channel, outer x inner elements</caption>
 * <tr><th>kind</th><th>threads</th><th>cluster</th><th>forward</th><th>backward</th><th>GPU</th>
 *     </tr>
 * <tr><td>rr_small</td><td>128</td><td>1</td><td>16 KiB</td><td>8 KiB</td><td>any</td></tr>
 * <tr><td>rr_c1</td><td>512</td><td>1</td><td>64 KiB</td><td>32 KiB</td><td>any</td></tr>
 * <tr><td>rr_c2</td><td>512</td><td>2</td><td>128 KiB</td><td>64 KiB</td><td>sm_90 or newer</td>
 *     </tr>
 * <tr><td>rr_c4</td><td>512</td><td>4</td><td>256 KiB</td><td>128 KiB</td><td>sm_90 or newer</td>
 *     </tr>
 * <tr><td>rr_c8</td><td>512</td><td>8</td><td>512 KiB</td><td>256 KiB</td><td>sm_90 or newer</td>
 *     </tr>
 * <tr><td>rr_c16</td><td>512</td><td>16</td><td>1 MiB</td><td>512 KiB</td><td>sm_90 or newer</td>
 *     </tr>
 * </table>
 *
 * Planes of whole vectors, more than one element each, or one channel alone.
 */
final class SinglePassPlanes extends SinglePass {
  /** In the order in which they are tried. */
  static final List<Kind> KINDS =
      List.of(
          kind("small", 128, 1),
          kind("c1", 512, 1),
          kind("c2", 512, 2),
          kind("c4", 512, 4),
          kind("c8", 512, 8),
          kind("c16", 512, 16));

  /** Vectors of a channel that a thread holds, forward; backward has to hold dy as well. */
  private static final int HELD = 8;

  // The struct Planes.
  final long units;
  final long share;
  private final long inner;
  private final long channels;

  private SinglePassPlanes(Kind kind, Data d) {
    super(kind, d, !d.writesGate() || d.run() % Byte.SIZE == 0);
    inner = d.run() / d.unit();
    units = d.planes() * inner;
    share = ceiling(ceiling(units, kind.cluster()), WARP) * WARP;
    channels = d.channels();
  }

  private static Kind kind(String size, int threads, int cluster) {
    return new Kind("rr", size, threads, cluster);
  }

  /** The most vectors of a channel. */
  static long capacity(Kind kind, Direction d) {
    return (long) kind.cluster() * kind.threads() * (d == Direction.FORWARD ? HELD : HELD / 2);
  }

  static Stream<SinglePass> fitting(Data d) {
    if (!d.hasVectors() || d.run() == 1 || d.run() % d.unit() != 0) {
      return Stream.of();
    }
    long units = d.planes() * (d.run() / d.unit());
    if (units > MOST / Math.max(1, d.channels())) {
      return Stream.of();
    }
    return KINDS.stream()
        .filter(
            k ->
                k.isIn(d.architecture())
                    && units <= capacity(k, d.direction())
                    && d.channels() <= MOST / k.cluster())
        .map(k -> new SinglePassPlanes(k, d));
  }

  @Override
  long blocks(int multiprocessors) {
    return channels * kind.cluster();
  }

  @Override
  void write(Kernel k, long values) {
    long magic = ceiling(1L << 32, inner);
    long rest = kind.threads() % inner;
    k.arg(units).arg(share).arg(inner).arg(channels).arg(magic);
    k.arg(rest).arg(kind.threads() / inner * channels * inner + rest);
    k.arg(values).arg(1.0 / values);
  }
}
