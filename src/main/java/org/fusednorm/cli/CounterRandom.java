package org.fusednorm.cli;

/**
 * SplitMix64 started from a (seed, stream) pair: stream {@code i} can be had without drawing the
 * streams before it, and integer arithmetic alone makes it the same on every JVM.
 */
final class CounterRandom {
  private static final long GOLDEN = 0x9E3779B97F4A7C15L;

  private long state;

  CounterRandom(long seed, long stream) {
    // Two rounds: after one, stream i + 1 would repeat stream i shifted by a draw.
    state = mix(mix(seed) + stream * GOLDEN);
  }

  /** Uniform in [0, 1), a multiple of 2^-24. */
  float uniform() {
    state += GOLDEN;
    return (mix(state) >>> 40) * 0x1p-24f;
  }

  /** Uniform in [low, high). */
  float between(float low, float high) {
    return low + (high - low) * uniform();
  }

  /** Triangular around 0 and within (-reach, reach): most draws small, none wild. */
  float around0(float reach) {
    float first = uniform();
    return reach * (first - uniform());
  }

  /** Uniform in 0 .. bound - 1, for small bounds. */
  int below(int bound) {
    return (int) (bound * uniform());
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
