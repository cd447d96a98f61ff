package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.SinglePass.Data;

/**
 * Which entries a normalization of one kind runs, how its data is cut, and what it needs of the
 * workspace: a pure function of direction, shape, type, alignment, gate and architecture. The cut
 * decides the order in which sums are merged, so equal arguments give equal bits on every GPU of an
 * architecture.
 *
 * <table>
 * <caption>Entries, by the first line that fits</caption>
 * <tr><th>data</th><th>sums</th><th>elements</th></tr>
 * <tr><td>F64</td><td>moments_f64</td><td>normalize_f64</td></tr>
 * <tr><td>whole vectors in each plane or, for inner 1, row</td><td>forward_*, tickets for both at
 *     once</td><td>normalize_columns_*</td></tr>
 * <tr><td>the same with a gate whose bytes two planes or rows would share</td><td>forward_*</td>
 *     <td>normalize_*</td></tr>
 * <tr><td>aligned</td><td>moments_scalar</td><td>normalize_*</td></tr>
 * <tr><td>any other</td><td>moments_scalar</td><td>normalize_scalar</td></tr>
 * </table>
 *
 * Backward likewise with backward_* (for elements of whole vectors too), gradient_sums_* and
 * input_gradient_*. Where a kernel of a {@link SinglePass} fits, it comes before these: for
 * everything, or, with a gate whose bytes two planes would share, for the sums.
 */
final class NormPlan {
  /** Which half of a training step. */
  enum Direction {
    /** Moments, normalize. */
    FORWARD("forward", "moments", "normalize_columns", "normalize"),
    /** Sums of gradients, input gradient. */
    BACKWARD("backward", "gradient_sums", "backward", "input_gradient");

    final String columns;
    final String sums;
    final String elementsInColumns;
    final String elements;

    Direction(String columns, String sums, String elementsInColumns, String elements) {
      this.columns = columns;
      this.sums = sums;
      this.elementsInColumns = elementsInColumns;
      this.elements = elements;
    }

    /** Elements that a thread moves at once: 16 bytes, or 8 where registers are short. */
    int elements(DType t) {
      return t == DType.F32 || this == BACKWARD ? 4 : 8;
    }
  }

  /** Threads of a block. */
  static final int THREADS = 256;

  /** Blocks of the large entries that a multiprocessor has room for. */
  private static final int RESIDENT_BLOCKS = 2;

  /** Blocks of entries that know no columns, for each multiprocessor. */
  private static final int FLAT_BLOCKS = 16;

  private static final long MOST_BLOCKS = 1 << 30;

  /** Groups of columns that there are counters for, beside two for the launch. */
  private static final int MOST_TICKET_GROUPS = Launches.TICKETS - 2;

  /** So many tasks are wanted to fill the largest GPU several times. */
  private static final int TASKS = 1024;

  /** Units that a thread of a task takes at least, where there are as many. */
  private static final int FEWEST_ROUNDS = 2;

  private static final int VECTOR_WIDTH = 8;
  private static final int SCALAR_WIDTH = 32;

  // What the plan is for.
  final Direction direction;
  final long outer;
  final long channels;
  final long inner;
  final DType type;
  final int alignment;
  final boolean gate;

  /**
   * One of several ways to the same result, which differ in the order of their sums and so in last
   * bits; "tickets" and "parts" do not.
   *
   * @param name as settings and files have it
   * @param single the kernel that sums, and where that is possible does everything; or null
   */
  record Way(String name, SinglePass single) {
    /** One launch with the sums' second read from the L2. */
    static final Way TICKETS = new Way("tickets", null);

    /** Sums, statistics and elements in a launch each. */
    static final Way PARTS = new Way("parts", null);
  }

  /** What can be done, best first; the last is possible on every GPU. */
  final List<Way> ways;

  /** What is done here: set by {@link NormPlans}. */
  Way way;

  /** Whether that is for good. */
  boolean settled;

  /** Another plan of the same slot of the table of plans. */
  NormPlan next;

  /** Entry that sums. */
  final String sums;

  /** Entry that computes elements. */
  final String elements;

  /** Whether the entry that sums can do both in one launch. */
  final boolean tickets;

  /** Whether elements are computed in columns, as sums are. */
  final boolean elementsInColumns;

  final Cut cut;

  /** The cut of data into columns, slices and tasks: the struct Columns of {@code norm.cuh}. */
  static final class Cut {
    final int unit;
    final long outer;
    final long columns;
    final long inner;
    final boolean fold;
    final int width;
    final long slice;
    final long slices;

    Cut(int unit, long outer, long channels, long inner, int mostWidth, int mostRounds) {
      this.unit = unit;
      this.outer = outer;
      fold = inner > 1 && unit > 1;
      columns = fold || unit == 1 ? channels : channels / unit;
      this.inner = fold ? inner / unit : inner;
      width = inner > 1 ? 1 : (int) Math.min(mostWidth, ceilingPowerOfTwo(columns));
      long units = outer * this.inner;
      long lanes = THREADS / width;
      long wanted = ceiling(TASKS, Math.max(1, groups()));
      long most = ceiling(units, lanes * FEWEST_ROUNDS);
      long fewest = ceiling(units, lanes * mostRounds);
      long about = Math.max(1, Math.max(fewest, Math.min(wanted, most)));
      // Whole rounds, so that threads which share a byte of the gate are in the same slice.
      slice = ceiling(ceiling(units, about), lanes) * lanes;
      slices = units == 0 ? 0 : ceiling(units, slice);
    }

    /** Groups of columns that one task takes. */
    long groups() {
      return ceiling(columns, width);
    }

    long tasks() {
      return groups() * slices;
    }

    /** Values of a channel in a slice, but the last. */
    long values() {
      return slice * (fold ? unit : 1);
    }

    /** Values of a channel in the last slice. */
    long lastValues() {
      return outer * inner * (fold ? unit : 1) - (slices - 1) * values();
    }
  }

  private NormPlan(
      Direction direction,
      long outer,
      long channels,
      long inner,
      DType type,
      int alignment,
      boolean gate,
      int architecture) {
    this.direction = direction;
    this.outer = outer;
    this.channels = channels;
    this.inner = inner;
    this.type = type;
    this.alignment = alignment;
    this.gate = gate;
    // One channel is one plane.
    long planes = channels == 1 ? 1 : outer;
    long run = channels == 1 ? outer * inner : inner;
    long contiguous = run == 1 ? channels : run;
    int unit = direction.elements(type);
    boolean aligned = type != DType.F64 && alignment >= unit * type.bytes();
    boolean vectors = aligned && contiguous > 0 && contiguous % unit == 0;
    // Only a forward writes the gate.
    boolean wholeBytes = !gate || direction == Direction.BACKWARD || contiguous % 8 == 0;
    elementsInColumns = vectors && wholeBytes;
    String suffix = type == DType.F32 ? "_f32" : type == DType.F64 ? "_f64" : "_half";
    String scalar = type == DType.F64 ? "_f64" : "_scalar";
    sums = vectors ? direction.columns + suffix : direction.sums + scalar;
    elements =
        elementsInColumns
            ? direction.elementsInColumns + suffix
            : direction.elements + (aligned ? suffix : scalar);
    int rounds = mostRounds(direction, type, architecture);
    cut =
        vectors
            ? new Cut(unit, planes, channels, run, VECTOR_WIDTH, rounds)
            : new Cut(1, planes, channels, run, SCALAR_WIDTH, rounds);
    tickets = elementsInColumns && cut.groups() <= MOST_TICKET_GROUPS && cut.slices > 0;
    Data data = new Data(direction, type, planes, channels, run, alignment, gate, architecture);
    Stream<Way> single = SinglePasses.fitting(data).map(k -> new Way(k.kind.text(), k));
    Stream<Way> base = tickets ? Stream.of(Way.TICKETS, Way.PARTS) : Stream.of(Way.PARTS);
    ways = Stream.concat(single, base).toList();
  }

  static NormPlan of(Direction d, Shape s, DType t, int alignment, boolean gate, int architecture) {
    return new NormPlan(d, s.outer(), s.channels(), s.inner(), t, alignment, gate, architecture);
  }

  /** The largest power of two up to 16 that divides every address which was or-ed. */
  static int alignment(long addresses) {
    return (int) Math.min(16, Long.lowestOneBit(addresses | 16));
  }

  /**
   * Units that a thread of a task takes at most. Two phases of tasks on all multiprocessors are to
   * fit into the L2, which is small on Turing and on the consumer's Ampere. A unit has 16 bytes,
   * but backward two of them in F32: x and dy.
   */
  private static int mostRounds(Direction d, DType t, int architecture) {
    int rounds = architecture == 75 || architecture == 86 ? 4 : 16;
    return d == Direction.BACKWARD && t == DType.F32 ? rounds / 2 : rounds;
  }

  boolean isFor(Direction d, Shape s, DType t, int ofAlignment, boolean withGate) {
    return d == direction
        && s.outer() == outer
        && s.channels() == channels
        && s.inner() == inner
        && t == type
        && ofAlignment == alignment
        && withGate == gate;
  }

  static int hash(Direction d, Shape s, DType t, int alignment, boolean gate) {
    long h = (s.outer() * 31 + s.channels()) * 31 + s.inner();
    h = ((h * 31 + t.ordinal()) * 31 + alignment) * 31 + (gate ? 2 : 0) + d.ordinal();
    return (int) (h ^ h >>> 32);
  }

  boolean hasElements() {
    return values() > 0 && channels > 0;
  }

  /** Values of a channel. */
  long values() {
    return outer * inner;
  }

  /** Bytes of the parts that sums leave, 16 for each channel and slice; one slice at least. */
  long partBytes() {
    return 16 * channels * Math.max(1, cut.slices);
  }

  /**
   * Groups of columns that tickets take at a time: enough tasks for all blocks that are resident.
   */
  long phase(int multiprocessors) {
    long blocks = (long) RESIDENT_BLOCKS * multiprocessors;
    return Math.max(1, Math.min(cut.groups(), ceiling(blocks, cut.slices)));
  }

  /** Blocks of a launch that does both halves. */
  long ticketBlocks(int multiprocessors) {
    return Math.min((long) RESIDENT_BLOCKS * multiprocessors, 2 * cut.tasks());
  }

  /** Blocks of a launch of {@link #sums}. */
  long sumBlocks() {
    return Math.min(cut.tasks(), MOST_BLOCKS);
  }

  /** Blocks of a launch of {@link #elements} alone. */
  long elementBlocks(int multiprocessors) {
    return elementsInColumns
        ? sumBlocks()
        : Math.min(
            ceiling(outer * channels * inner, THREADS), (long) FLAT_BLOCKS * multiprocessors);
  }

  /** Blocks of a launch with a thread for each item; one for none. */
  static long threadBlocks(long items) {
    return Math.max(1, Math.min(ceiling(items, THREADS), MOST_BLOCKS));
  }

  private static long ceiling(long n, long divisor) {
    return (n + divisor - 1) / divisor;
  }

  private static long ceilingPowerOfTwo(long n) {
    return n <= 1 ? 1 : Long.highestOneBit(n - 1) << 1;
  }
}
