package org.fusednorm.nn;

/**
 * Random numbers that are the same on every machine and JVM: SplitMix64 (Steele, Lea and Flood
 * 2014) over a hashed seed, transcendental functions from {@link StrictMath}. The whole state is
 * the seed and a counter, so a run can go on where another stopped.
 */
public final class Generator {
  private static final long GOLDEN = 0x9E3779B97F4A7C15L;

  private final long key;
  private long position;

  /** A generator at its start. */
  public Generator(long seed) {
    key = mix(seed + GOLDEN);
  }

  /** An independent generator, the same for the same number, whatever was drawn from this one. */
  public Generator stream(long number) {
    return new Generator(key ^ mix(number));
  }

  /** How many 64-bit numbers were drawn. */
  public long position() {
    return position;
  }

  /** Goes to where a generator of this seed had drawn {@code p} 64-bit numbers. */
  public void position(long p) {
    position = p;
  }

  /** 64 random bits. */
  public long nextLong() {
    position++;
    return mix(key + position * GOLDEN);
  }

  /**
   * Uniform in 0 .. bound - 1, without bias.
   *
   * @throws IllegalArgumentException when {@code bound} is not positive
   */
  public int nextInt(int bound) {
    if (bound < 1) {
      throw new IllegalArgumentException("bound must be at least 1, not " + bound);
    }
    long range = 1L << 32;
    long usable = range - range % bound;
    long bits;
    do {
      bits = nextLong() >>> 32;
    } while (bits >= usable);
    return (int) (bits % bound);
  }

  /** Uniform in [0, 1), a multiple of 2^-53. */
  public double nextDouble() {
    return (nextLong() >>> 11) * 0x1p-53;
  }

  /** Standard normal, by Box and Muller from two uniform numbers. */
  public double nextGaussian() {
    double radius = StrictMath.sqrt(-2 * StrictMath.log(1 - nextDouble()));
    return radius * StrictMath.cos(2 * Math.PI * nextDouble());
  }

  /** Puts the values into a random order, each order equally likely. */
  public void shuffle(long[] v) {
    for (int i = v.length - 1; i > 0; i--) {
      int j = nextInt(i + 1);
      long t = v[i];
      v[i] = v[j];
      v[j] = t;
    }
  }

  /** SplitMix64's finalizer, a bijection of 64-bit numbers. */
  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
