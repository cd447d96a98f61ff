package org.fusednorm;

import java.util.Arrays;

/**
 * The extent of a tensor in elements, and where its channels lie. Immutable.
 *
 * <p>Every layout comes down to three numbers, the only ones that kernels see: the data is {@code
 * outer} x {@code channels} x {@code inner} elements in that order in memory. NCHW is (N, C, H*W),
 * NHWC is (N*H*W, C, 1), NC is (N, C, 1). Statistics are taken over outer and inner.
 *
 * <p>A shape made by {@link #of} has no channel axis; it serves parameters, labels and matrices.
 */
public final class Shape {
  private static final int NO_CHANNELS = -1;

  private final long[] dims;
  private final int channelAxis;
  private final String layout;
  private final long outer;
  private final long channels;
  private final long inner;

  private Shape(String layout, int channelAxis, long... dims) {
    this.dims = dims;
    this.channelAxis = channelAxis;
    this.layout = layout;
    long elements = 1;
    for (long d : dims) {
      if (d < 0) {
        throw new IllegalArgumentException("negative dimension " + d + " in " + this);
      }
      elements = product(elements, d, this);
    }
    if (channelAxis == NO_CHANNELS) {
      outer = elements;
      channels = 1;
      inner = 1;
    } else {
      outer = product(dims, 0, channelAxis);
      channels = dims[channelAxis];
      inner = product(dims, channelAxis + 1, dims.length);
    }
  }

  /**
   * A shape without a channel axis; no dimension at all means one element.
   *
   * @throws IllegalArgumentException on a negative dimension or more than 2^63 - 1 elements
   */
  public static Shape of(long... dims) {
    return new Shape("", NO_CHANNELS, dims.clone());
  }

  /** Rows of channels, as a dense layer makes them. */
  public static Shape nc(long n, long c) {
    return new Shape("NC", 1, n, c);
  }

  /** One spatial dimension, channel planes. */
  public static Shape ncl(long n, long c, long l) {
    return new Shape("NCL", 1, n, c, l);
  }

  /** Two spatial dimensions, channel planes. */
  public static Shape nchw(long n, long c, long h, long w) {
    return new Shape("NCHW", 1, n, c, h, w);
  }

  /** Three spatial dimensions, channel planes. */
  public static Shape ncdhw(long n, long c, long d, long h, long w) {
    return new Shape("NCDHW", 1, n, c, d, h, w);
  }

  /** One spatial dimension, channels last. */
  public static Shape nlc(long n, long l, long c) {
    return new Shape("NLC", 2, n, l, c);
  }

  /** Two spatial dimensions, channels last; the arguments stand in memory order. */
  public static Shape nhwc(long n, long h, long w, long c) {
    return new Shape("NHWC", 3, n, h, w, c);
  }

  /** Three spatial dimensions, channels last; the arguments stand in memory order. */
  public static Shape ndhwc(long n, long d, long h, long w, long c) {
    return new Shape("NDHWC", 4, n, d, h, w, c);
  }

  /** Number of dimensions. */
  public int rank() {
    return dims.length;
  }

  /** Extent of dimension {@code axis}, counted from 0. */
  public long dim(int axis) {
    return dims[axis];
  }

  /** All extents, a copy. */
  public long[] dims() {
    return dims.clone();
  }

  /** Number of elements. */
  public long elements() {
    return outer * channels * inner;
  }

  /** Number of bytes that elements of type {@code t} take. */
  public long bytes(DType t) {
    return product(elements(), t.bytes(), this);
  }

  /** True when the shape says which axis holds the channels. */
  public boolean hasChannels() {
    return channelAxis != NO_CHANNELS;
  }

  /** Elements before the channel axis: the batch, for channels-last layouts times the positions. */
  public long outer() {
    return outer;
  }

  /**
   * Number of channels.
   *
   * @throws IllegalArgumentException for a shape without a channel axis
   */
  public long channels() {
    if (!hasChannels()) {
      throw new IllegalArgumentException(
          "shape " + this + " has no channel axis: make it by nc, nchw, nhwc or one of their kin");
    }
    return channels;
  }

  /** Elements after the channel axis: the positions of a channel plane, 1 for channels last. */
  public long inner() {
    return inner;
  }

  /** Values that share one channel's statistics: outer times inner. */
  public long valuesPerChannel() {
    return outer * inner;
  }

  /** Extent of the first dimension. */
  public long batch() {
    return dims.length == 0 ? 1 : dims[0];
  }

  /**
   * The same data with every activation a channel of its own: statistics over the batch only, as
   * section 3.2 of the paper normalizes a fully connected layer.
   */
  public Shape perActivation() {
    if (dims.length == 0) {
      throw new IllegalArgumentException("a scalar has no activations");
    }
    return nc(dims[0], product(dims, 1, dims.length));
  }

  /** The same shape with another extent of the first dimension. */
  public Shape withBatch(long n) {
    if (dims.length == 0) {
      throw new IllegalArgumentException("a scalar has no batch dimension");
    }
    long[] d = dims.clone();
    d[0] = n;
    return new Shape(layout, channelAxis, d);
  }

  private static long product(long[] dims, int from, int to) {
    long p = 1;
    for (int i = from; i < to; i++) {
      p *= dims[i];
    }
    return p;
  }

  private static long product(long a, long b, Shape of) {
    try {
      return Math.multiplyExact(a, b);
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException("shape " + of + " is too large: over 2^63 - 1", e);
    }
  }

  @Override
  public boolean equals(Object o) {
    return o instanceof Shape s && channelAxis == s.channelAxis && Arrays.equals(dims, s.dims);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(dims) + channelAxis;
  }

  /** For example {@code [32, 64, 56, 56] NCHW}. */
  @Override
  public String toString() {
    return layout.isEmpty() ? Arrays.toString(dims) : Arrays.toString(dims) + " " + layout;
  }
}
