package org.fusednorm.bench;

/** One library's way through a {@link NormCase}; everything but the call itself is prepared. */
interface NormWork extends AutoCloseable {
  /** Computes once, and has done so when it returns. */
  void call();

  /** Before each call, outside of its time. */
  default void before() {}

  /** After each call, outside of its time. */
  default void after() {}

  /** y, or dx for a backward, in the memory order of the case. Valid after a call. */
  float[] result();

  /** Library, version and implementation. */
  String description();

  @Override
  void close();
}
