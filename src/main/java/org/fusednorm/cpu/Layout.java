package org.fusednorm.cpu;

import org.fusednorm.Shape;

/**
 * How data of one shape is split into stripes, whose sums are merged in order, and into the items
 * that threads take. Stripes depend on the shape alone, never on the number of threads, because
 * they decide the order in which sums are rounded; which channels share an item decides nothing.
 *
 * <p>Rows (inner = 1, NC and channels-last) are split into stripes of rows and, where a row is
 * long, blocks of columns. Planes are split by channels, and by stripes too where the channels are
 * few or large. With one stripe an item holds all values of its channels, which then stay in cache
 * between statistics and normalization.
 */
final class Layout {
  /** What the items of a verb are. */
  enum Split {
    /** Some channels of a stripe, for sums over one tensor. */
    SUMS,
    /** The same for sums over two. */
    SUMS_OF_TWO,
    /** Runs of memory, for what is done element by element. */
    ELEMENTS
  }

  /** Planes below this many values are taken side by side, as one long row. */
  static final int SMALL_PLANE = 512;

  /** Enough items for dynamic balance, few enough that merging them costs nothing. */
  private static final int ITEMS = 64;

  /** With fewer channels their stripes are what threads share. */
  private static final int FEW_CHANNELS = 16;

  private static final long STRIPE_VALUES = 131_072;

  /** A channel that no cache holds between two passes is split. */
  private static final long CACHED_VALUES = 1L << 22;

  /** Values of all channels of an item that stay in the caches beside those of the next item. */
  private static final long GROUP_VALUES = 200_704;

  /** Values that lie side by side in an item: a run that is worth its prefetching. */
  private static final int RUN_VALUES = 12_544;

  /**
   * Lanes of a row of small planes whose coefficients and sums, also those of two items, fit the
   * first-level cache beside what is read and written.
   */
  private static final int ROW_LANES = 800;

  /** The same where fewer channels end with no whole vector, or where planes are few. */
  private static final int MOST_ROW_LANES = 1600;

  /** Lanes of a tile of short rows: more would cost more to merge. */
  private static final int TILE_LANES = 256;

  private static final int VECTOR = 16;

  private static final long ELEMENTS_PER_ITEM = 65_536;

  long outer;
  int channels;
  long inner;
  long elements;
  int stripes;

  /** Rows that kernels take at once where rows are short; a stripe begins at a multiple. */
  int rowsPerTile;

  private int columns;
  private long outerPerStripe;
  private long innerPerStripe;
  private int partsPerPlane;

  // Items in one piece of outer and inner, channels in each of them, and the pieces.
  private int groups;
  private int group;
  private long outerPerItem;
  private long innerPerItem;
  private int itemsPerPlane;
  private int pieces;

  /**
   * Describes data of a shape.
   *
   * @param columns most columns of a row in an item of sums
   */
  Layout set(Shape s, int columns) {
    this.columns = columns;
    outer = s.outer();
    channels = Math.toIntExact(s.channels());
    inner = s.inner();
    elements = s.elements();
    rowsPerTile = 1;
    partsPerPlane = 1;
    innerPerStripe = inner;
    if (elements == 0) {
      stripes = 0;
    } else if (isRows()) {
      stripesOfRows();
    } else {
      stripesOfPlanes();
    }
    return this;
  }

  private void stripesOfRows() {
    rowsPerTile = rowsPerTile(channels);
    long wanted = clamp(elements / STRIPE_VALUES, 1, Math.max(1, ITEMS / ceil(channels, columns)));
    outerPerStripe = ceil(ceil(outer, wanted), rowsPerTile) * rowsPerTile;
    stripes = (int) ceil(outer, outerPerStripe);
  }

  /** So many short rows that a tile of them ends with a whole vector, where that is possible. */
  private static int rowsPerTile(int channels) {
    int rows = VECTOR / gcd(channels, VECTOR);
    if (rows * channels > Scratch.CHUNK) {
      return Math.max(1, 2 * TILE_LANES / channels);
    }
    while (rows * channels < TILE_LANES) {
      rows *= 2;
    }
    return rows;
  }

  private void stripesOfPlanes() {
    long perChannel = outer * inner;
    long wanted = 1;
    if (channels < FEW_CHANNELS || perChannel > CACHED_VALUES) {
      wanted = clamp(perChannel / STRIPE_VALUES, 1, Math.max(1, ITEMS / channels));
    }
    if (wanted <= outer) {
      outerPerStripe = ceil(outer, wanted);
      stripes = (int) ceil(outer, outerPerStripe);
    } else {
      // Parts of a plane begin at multiples of a chunk, hence at whole bytes of the gate.
      outerPerStripe = 1;
      innerPerStripe = ceil(ceil(inner, ceil(wanted, outer)), Scratch.CHUNK) * Scratch.CHUNK;
      partsPerPlane = (int) ceil(inner, innerPerStripe);
      stripes = (int) outer * partsPerPlane;
    }
  }

  /** Makes the items of a verb. */
  void split(Split s) {
    if (elements == 0) {
      pieces = 0;
      groups = 1;
      group = 1;
      return;
    }
    outerPerItem = outerPerStripe;
    innerPerItem = innerPerStripe;
    itemsPerPlane = partsPerPlane;
    pieces = stripes;
    if (isRows()) {
      // Native kernels need lanes for sums alone: without them whole rows are one run of memory.
      boolean whole = s == Split.ELEMENTS && columns > Scratch.CHUNK;
      group = whole ? channels : Math.min(channels, columns);
    } else if (s == Split.ELEMENTS && !isSmallPlanes()) {
      splitElements();
    } else {
      group = stripes > 1 ? 1 : Math.min(channels, channelsPerItem(s));
    }
    groups = ceil(channels, group);
  }

  /** Whether planes are taken side by side. */
  boolean isSmallPlanes() {
    return inner > 1 && inner < SMALL_PLANE && outer >= 4;
  }

  private int channelsPerItem(Split s) {
    int tensors = s == Split.SUMS_OF_TWO ? 2 : 1;
    long fitting = Math.max(1, GROUP_VALUES / tensors / (outer * inner));
    if (inner >= SMALL_PLANE) {
      // Few enough that every thread has many: the first item of each has none to overlap with.
      long side = Math.min(RUN_VALUES / tensors / inner, channels / FEW_CHANNELS);
      return (int) clamp(side, 1, fitting);
    }
    int unit = VECTOR / gcd((int) inner, VECTOR);
    if (unit * inner > MOST_ROW_LANES) {
      unit = 1;
    }
    int lanes = isSmallPlanes() ? ROW_LANES : MOST_ROW_LANES;
    return (int) (unit * clamp(lanes / (unit * inner), 1, Math.max(1, fitting / unit)));
  }

  private void splitElements() {
    outerPerItem = 1;
    innerPerItem = inner;
    itemsPerPlane = 1;
    if (inner > 2 * ELEMENTS_PER_ITEM) {
      innerPerItem = ELEMENTS_PER_ITEM;
      itemsPerPlane = (int) ceil(inner, innerPerItem);
    }
    group = (int) clamp(ELEMENTS_PER_ITEM / inner, 1, channels);
    if (group == channels) {
      outerPerItem = clamp(ELEMENTS_PER_ITEM / (inner * channels), 1, outer);
    }
    pieces = Math.toIntExact(ceil(outer, outerPerItem) * itemsPerPlane);
  }

  int items() {
    return Math.multiplyExact(pieces, groups);
  }

  boolean isRows() {
    return inner == 1;
  }

  /** Values that share one channel's statistics. */
  long valuesPerChannel() {
    return outer * inner;
  }

  /** The part of the data that item {@code i} covers. */
  Range range(int i, Range r) {
    r.stripe = i / groups;
    r.channelFrom = i % groups * group;
    r.channelTo = Math.min(channels, r.channelFrom + group);
    r.outerFrom = r.stripe / itemsPerPlane * outerPerItem;
    r.outerTo = Math.min(outer, r.outerFrom + outerPerItem);
    r.innerFrom = r.stripe % itemsPerPlane * innerPerItem;
    r.innerTo = Math.min(inner, r.innerFrom + innerPerItem);
    return r;
  }

  /** Values per channel in stripe {@code i}. */
  long stripeCount(int i) {
    long from = i / partsPerPlane * outerPerStripe;
    long innerFrom = i % partsPerPlane * innerPerStripe;
    return (Math.min(outer, from + outerPerStripe) - from)
        * (Math.min(inner, innerFrom + innerPerStripe) - innerFrom);
  }

  /** Bytes of the ReLU gate: one bit per element, each tile of rows or plane padded to bytes. */
  long gateBytes() {
    if (elements == 0) {
      return 0;
    }
    return isRows() ? ceil(outer, rowsPerTile) * gateStride() : outer * channels * gateStride();
  }

  /** Bytes of the gate from one tile of rows, or plane, to the next. */
  long gateStride() {
    return ceil(isRows() ? (long) rowsPerTile * channels : inner, 8);
  }

  private static int gcd(int a, int b) {
    return b == 0 ? a : gcd(b, a % b);
  }

  static long ceil(long a, long b) {
    return (a + b - 1) / b;
  }

  private static int ceil(int a, int b) {
    return (a + b - 1) / b;
  }

  private static long clamp(long v, long low, long high) {
    return Math.max(low, Math.min(high, v));
  }
}
