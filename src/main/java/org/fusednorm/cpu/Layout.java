package org.fusednorm.cpu;

import org.fusednorm.Shape;

/**
 * How data of one shape is split into items. Depends on the shape alone, never on the number of
 * threads, because the split decides the order in which sums are rounded.
 *
 * <p>Rows (inner = 1, NC and channels-last) are split into stripes of rows and, where a row is
 * long, blocks of columns. Planes are split by channels, and by stripes too where the channels are
 * few and large. With one stripe an item holds all values of its channels, which then stay in cache
 * between statistics and normalization.
 */
final class Layout {
  /** Enough items for dynamic balance, few enough that merging them costs nothing. */
  private static final int ITEMS = 64;

  private static final long STRIPE_VALUES = 32_768;
  private static final int GROUP_VALUES = 16_384;
  private static final long CACHED_VALUES = 1L << 21;
  private static final int TILE = 512;

  long outer;
  int channels;
  long inner;
  long elements;
  int stripes;

  /** Items in one stripe, and channels in each of them but the last. */
  int groups;

  int group;

  /** Rows that kernels take at once where rows are short; a stripe begins at a multiple. */
  int rowsPerTile;

  private long outerPerStripe;
  private long innerPerStripe;
  private int partsPerPlane;

  Layout set(Shape s) {
    outer = s.outer();
    channels = Math.toIntExact(s.channels());
    inner = s.inner();
    elements = s.elements();
    rowsPerTile = 1;
    partsPerPlane = 1;
    innerPerStripe = inner;
    if (elements == 0) {
      stripes = 0;
      groups = 0;
      group = 1;
    } else if (inner == 1) {
      splitRows();
    } else {
      splitPlanes();
    }
    return this;
  }

  private void splitRows() {
    if (channels < TILE) {
      rowsPerTile = TILE / channels;
    }
    group = Math.min(channels, Scratch.CHUNK);
    groups = ceil(channels, group);
    long wanted = clamp(elements / STRIPE_VALUES, 1, Math.max(1, ITEMS / groups));
    outerPerStripe = ceil(ceil(outer, wanted), rowsPerTile) * rowsPerTile;
    stripes = (int) ceil(outer, outerPerStripe);
  }

  private void splitPlanes() {
    long perChannel = outer * inner;
    long wanted = 1;
    if (channels < ITEMS || perChannel > CACHED_VALUES) {
      wanted = clamp(perChannel / (2 * STRIPE_VALUES), 1, Math.max(1, ITEMS / channels));
    }
    group = wanted > 1 ? 1 : (int) clamp(GROUP_VALUES / perChannel, 1, channels);
    groups = ceil(channels, group);
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

  int items() {
    return stripes * groups;
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
    stripe(r.stripe, r);
    return r;
  }

  /** Sets the outer and inner bounds of stripe {@code i}. */
  Range stripe(int i, Range r) {
    r.outerFrom = i / partsPerPlane * outerPerStripe;
    r.outerTo = Math.min(outer, r.outerFrom + outerPerStripe);
    r.innerFrom = i % partsPerPlane * innerPerStripe;
    r.innerTo = Math.min(inner, r.innerFrom + innerPerStripe);
    return r;
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
