package org.fusednorm.bench;

import org.openjdk.jmh.annotations.Param;

/**
 * What the memory of this machine can do: the least traffic of a case without its arithmetic. One
 * read and one write of the data, or two reads and one write, in loops that are shared by the
 * threads in halves.
 *
 * <p>Needs {@code benchmarks/native/limit.cpp}, compiled to the library that the property {@code
 * fusednorm.bench.limit} names; {@code benchmarks/cpu-peers} does so.
 */
public class LimitNorm extends NormBenchmark {
  /** How results are written: past the caches, or through them. The faster is the limit. */
  @Param({"streaming", "ordinary"})
  public String stores;

  @Override
  NormWork open(NormCase c, NormData data) {
    return new Work(c, data, stores.equals("streaming"));
  }

  static final class Work implements NormWork {
    private final boolean streaming;
    private final int threads = Integer.getInteger("fusednorm.threads", 1);
    private final Block x;
    private final Block y;
    private final Block second;

    Work(NormCase c, NormData data, boolean streaming) {
      this.streaming = streaming;
      x = new Block(c, data.x());
      y = new Block(c.type(), c.elements());
      second =
          c.operation().add()
              ? new Block(c, data.residual())
              : c.operation().isBackward() ? new Block(c, data.dy()) : null;
      Native.start(threads);
    }

    @Override
    public void call() {
      Native.move(
          streaming, x.address(), second == null ? 0 : second.address(), y.address(), y.bytes());
    }

    @Override
    public float[] result() {
      return y.toFloats();
    }

    @Override
    public String description() {
      return second == null ? "one read, one write" : "two reads, one write";
    }

    @Override
    public void close() {
      x.close();
      y.close();
      if (second != null) {
        second.close();
      }
    }
  }

  /** Entries of limit.cpp. */
  static final class Native {
    static {
      System.load(System.getProperty("fusednorm.bench.limit"));
    }

    private Native() {}

    /** Starts the threads that help, once; they spin a little after each call. */
    static native void start(int threads);

    /**
     * y = x, or y = x xor second where its address is not 0. Where that of y is 0, nothing is
     * written.
     */
    static native void move(boolean streaming, long x, long second, long y, long bytes);

    /** Keeps the calling thread, and those that it starts, on one processor. */
    static native void stay(int processor);
  }
}
