package org.fusednorm.cpu;

/**
 * How results of native kernels are stored: through the caches, where what reads them next finds
 * them, or past the caches, which spares reading what is overwritten and leaves their content in
 * place. Figures: native/TUNING.md.
 */
enum Stores {
  /** By the bytes of all that a verb reads and writes, and by what is done with its result. */
  BY_SIZE,
  THROUGH_CACHES,
  PAST_CACHES;

  /** Above this a result is stored past the caches. */
  private static final long LEAST_BYTES = 24L << 20;

  /** The same for what a smaller part of is in the way, or which is worth more in a cache. */
  private static final long LEAST_BYTES_KEPT = 40L << 20;

  /**
   * Whether a verb's result goes past the caches.
   *
   * @param bytes of all that it reads and writes
   * @param isKept whether it is read next, or made in one pass over x
   */
  boolean arePast(long bytes, boolean isKept) {
    return switch (this) {
      case BY_SIZE -> bytes > (isKept ? LEAST_BYTES_KEPT : LEAST_BYTES);
      case THROUGH_CACHES -> false;
      case PAST_CACHES -> true;
    };
  }
}
