package org.fusednorm.cpu;

/** A part of the data: some outer indices, some channels, some inner indices. */
final class Range {
  long outerFrom;
  long outerTo;
  int channelFrom;
  int channelTo;
  long innerFrom;
  long innerTo;

  /** Where partial results go: one slot of all channels per stripe. */
  int stripe;

  /** Whether one of the channels is wide; known once the coefficients are. */
  boolean wide;

  /** Values per channel in this range. */
  long count() {
    return (outerTo - outerFrom) * (innerTo - innerFrom);
  }
}
