package org.fusednorm.cuda;

import java.util.Locale;
import org.fusednorm.DType;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * A kernel that holds channels on the chip between their statistics and their elements, so that
 * each byte is read once, and how it cuts one kind of data. {@link SinglePasses} lists the families
 * of such kernels.
 */
abstract class SinglePass {
  /** Bytes that a thread loads at once. */
  static final int VECTOR = 16;

  /** The first architecture with clusters. */
  static final int CLUSTERS = 90;

  /** Of vectors and of blocks: the kernels count both in 31 bits. */
  static final long MOST = (1L << 31) - 1;

  static final int WARP = 32;

  /** Blocks of a team: no GPU that they are for has fewer multiprocessors by far. */
  private static final int MOST_OF_TEAM = 128;

  /** Turns of a team are counted in 32 bits. */
  static final long MOST_TURNS = 1 << 20;

  /**
   * What data a kernel is looked for.
   *
   * @param planes of a channel
   * @param run elements of a plane
   * @param alignment of all addresses
   * @param gate whether a forward writes it, or a backward reads it
   */
  record Data(
      Direction direction,
      DType type,
      long planes,
      long channels,
      long run,
      int alignment,
      boolean gate,
      int architecture) {
    /** Elements of a vector. */
    int unit() {
      return VECTOR / type.bytes();
    }

    /** Whether there are vectors of a type that these kernels know. */
    boolean hasVectors() {
      boolean known = type == DType.F32 || type == DType.F16 || type == DType.BF16;
      return known && alignment >= VECTOR && planes > 0 && run > 0;
    }

    boolean writesGate() {
      return gate && direction == Direction.FORWARD;
    }
  }

  /**
   * A size of a family's kernels, for each direction and type one.
   *
   * @param family name
   * @param size name
   * @param threads of a block
   * @param cluster blocks of a cluster
   */
  record Kind(String family, String size, int threads, int cluster) {
    /** As settings and files name it. */
    String text() {
      return family + "_" + size;
    }

    String entry(Direction d, DType t) {
      String type = t.name().toLowerCase(Locale.ROOT);
      return String.join("_", family, d.columns, type, size);
    }

    /** Clusters are in the machine code for some architectures alone. */
    boolean isIn(int architecture) {
      return cluster == 1 || architecture >= CLUSTERS;
    }
  }

  final Kind kind;
  final String entry;

  /** Whether it does everything, and not the sums alone. */
  final boolean whole;

  SinglePass(Kind kind, Data data, boolean whole) {
    this.kind = kind;
    entry = kind.entry(data.direction, data.type);
    this.whole = whole;
  }

  /** Blocks of the launch. */
  abstract long blocks(int multiprocessors);

  /** Blocks that wait for each other beyond a cluster, all of which a GPU has to hold; or 0. */
  int team() {
    return 0;
  }

  /** Dynamic shared memory of a block. */
  int sharedBytes() {
    return 0;
  }

  /** Whether data of other channels is read all the while one of them is worked at. */
  boolean readsAhead() {
    return true;
  }

  /**
   * The end of the arguments' struct: how data is cut.
   *
   * @param values of a channel
   */
  abstract void write(Kernel k, long values);

  /** The most shared memory of a block; GPUs of consumers have less. */
  static int sharedMemory(int architecture) {
    return (architecture / 10 == 12 ? 99 : 227) << 10;
  }

  /** A team of at least so many blocks, a power of two from 2; or the largest. */
  static int teamOf(long blocks) {
    int team = 2;
    while (team < blocks && team < MOST_OF_TEAM) {
      team *= 2;
    }
    return team;
  }

  static long ceiling(long n, long divisor) {
    return (n + divisor - 1) / divisor;
  }
}
