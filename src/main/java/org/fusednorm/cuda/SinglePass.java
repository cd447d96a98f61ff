package org.fusednorm.cuda;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * A kernel that holds a channel on the chip between its statistics and its elements, so that each
 * byte is read once: {@code cuda/single_pass_planes.cu}. A channel lies in the registers of a
 * cluster, {@value #VECTOR} bytes in each of a few vectors of a thread.
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
 * F32, F16 and BF16; every address a multiple of 16 bytes; planes of whole vectors, more than one
 * element each, or one channel alone; fewer than 2^31 vectors in all. The first kind that fits is
 * the rule's choice. Kernels of clusters are in the machine code for sm_90 and newer alone.
 */
final class SinglePass {
  /** Bytes that a thread loads at once. */
  static final int VECTOR = 16;

  /** The first architecture with clusters. */
  static final int CLUSTERS = 90;

  /** Vectors of a channel that a thread holds, forward; backward has to hold dy as well. */
  private static final int HELD = 8;

  private static final int WARP = 32;
  private static final long MOST = (1L << 31) - 1;

  /** In the order in which they are tried. */
  enum Kind {
    SMALL(128, 1),
    C1(512, 1),
    C2(512, 2),
    C4(512, 4),
    C8(512, 8),
    C16(512, 16);

    final int threads;
    final int cluster;

    Kind(int threads, int cluster) {
      this.threads = threads;
      this.cluster = cluster;
    }

    /** As settings and files name it. */
    String text() {
      return "rr_" + name().toLowerCase(Locale.ROOT);
    }

    /** The most vectors of a channel. */
    long capacity(Direction d) {
      return (long) cluster * threads * (d == Direction.FORWARD ? HELD : HELD / 2);
    }
  }

  /** Names of all entries; an image may lack some of them on some architecture. */
  static final List<String> ENTRIES =
      Stream.of(Direction.values())
          .flatMap(d -> Stream.of(DType.F32, DType.F16, DType.BF16).flatMap(t -> entries(d, t)))
          .toList();

  private static Stream<String> entries(Direction d, DType t) {
    return Stream.of(Kind.values()).map(kind -> entry(kind, d, t));
  }

  private static String entry(Kind kind, Direction d, DType t) {
    String type = t.name().toLowerCase(Locale.ROOT);
    return kind.text().replace("_", "_" + d.columns + "_" + type + "_");
  }

  final Kind kind;
  final String entry;

  // The struct PlanesHeld.
  final long units;
  final long share;
  final long inner;
  final long channels;

  private SinglePass(Kind kind, Direction d, DType t, long planes, long channels, long runUnits) {
    this.kind = kind;
    entry = entry(kind, d, t);
    units = planes * runUnits;
    share = ceiling(ceiling(units, kind.cluster), WARP) * WARP;
    inner = runUnits;
    this.channels = channels;
  }

  /**
   * The kernels that can do a normalization, best first.
   *
   * @param planes of a channel
   * @param run elements of a plane
   */
  static List<SinglePass> fitting(
      Direction d, DType t, long planes, long channels, long run, int alignment, int architecture) {
    int unit = VECTOR / t.bytes();
    boolean single = t == DType.F32 || t == DType.F16 || t == DType.BF16;
    if (!single || alignment < VECTOR || run <= 1 || run % unit != 0 || planes == 0) {
      return List.of();
    }
    long units = planes * (run / unit);
    if (units > MOST / Math.max(1, channels)) {
      return List.of();
    }
    List<SinglePass> fitting = new ArrayList<>();
    for (Kind kind : Kind.values()) {
      boolean there = kind.cluster == 1 || architecture >= CLUSTERS;
      if (there && units <= kind.capacity(d) && channels <= MOST / kind.cluster) {
        fitting.add(new SinglePass(kind, d, t, planes, channels, run / unit));
      }
    }
    return fitting;
  }

  /** Blocks of the launch. */
  long blocks() {
    return channels * kind.cluster;
  }

  /** Struct PlanesHeld, with what spares the kernel divisions. */
  void write(Kernel k, long values) {
    long magic = ceiling(1L << 32, inner);
    long rest = kind.threads % inner;
    k.arg(units).arg(share).arg(inner).arg(channels).arg(magic);
    k.arg(rest).arg(kind.threads / inner * channels * inner + rest);
    k.arg(values).arg(1.0 / values);
  }

  private static long ceiling(long n, long divisor) {
    return (n + divisor - 1) / divisor;
  }
}
