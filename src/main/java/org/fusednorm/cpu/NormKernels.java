package org.fusednorm.cpu;

/**
 * Normalization of one range of the data: what an implementation with other instructions replaces.
 * Ranges of different threads never share a byte that is written.
 *
 * <p>All take y = (x - c) a + b by the same operations in the same order, so that the ReLU gate of
 * the backward is that of the forward bit for bit.
 */
interface NormKernels {
  /** Most columns of a row that a range may have. */
  default int columns() {
    return Scratch.CHUNK;
  }

  /**
   * Called before the ranges of a verb.
   *
   * @return whether numbers per channel are computed by the methods below, and not in Java
   */
  default boolean begin(NormCall n) {
    return false;
  }

  /** Takes the coefficients of a saved state; false where a channel is wide. */
  default boolean load(NormCall n) {
    throw new UnsupportedOperationException();
  }

  /** Takes those of running statistics; false where a channel is wide. */
  default boolean loadRunning(NormCall n) {
    throw new UnsupportedOperationException();
  }

  /** Merges the stripes' moments, computes coefficients and saves them; false where one is wide. */
  default boolean finishMoments(NormCall n, int from, int to) {
    throw new UnsupportedOperationException();
  }

  /** Merges the stripes' sums, computes slopes and offsets and writes the sums. */
  default void finishSums(NormCall n, int from, int to) {
    throw new UnsupportedOperationException();
  }

  /** Brings the results of a stripe into Java, where they are not there already. */
  default void take(NormCall n, int stripe, int from, int to) {}

  /** Brings the results of a range into Java. */
  default void take(NormCall n, Range r) {
    take(n, r.stripe, r.channelFrom, r.channelTo);
  }

  /** Called when center, scale and shift of these channels are known. */
  default void coefficients(NormCall n, int from, int to, Scratch s) {}

  /**
   * Whether normalizing one item overlaps with reading the next, which lies in memory: then the two
   * come in one call.
   */
  default boolean overlaps(NormCall n) {
    return false;
  }

  /** {@link #normalize} of one range and {@link #moments} of another. */
  default void normalizeAndMoments(NormCall n, Range done, Range next) {
    throw new UnsupportedOperationException();
  }

  /** Called when slope and offset of these channels are known. */
  default void slopes(NormCall n, int from, int to, Scratch s) {}

  /** Mean and M2 of the range's values per channel, into the slot of its stripe. */
  void moments(NormCall n, Range r, Scratch s);

  /** y = f((x - c) a + b + residual), and the gate where one is kept. */
  void normalize(NormCall n, Range r, Scratch s);

  /** Sums of g and g (x - c) per channel, g the gated dy, into the slot of the range's stripe. */
  void gradientSums(NormCall n, Range r, Scratch s);

  /** dx = g a + (x - c) p + q, or g a where the statistics were constants; dResidual = g. */
  void inputGradient(NormCall n, Range r, Scratch s);
}
