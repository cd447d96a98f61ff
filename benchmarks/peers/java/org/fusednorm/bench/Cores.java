package org.fusednorm.bench;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * What two processors are to each other, which a virtual machine does not tell and may change while
 * it runs: two cores, or two threads of one.
 *
 * @param gain arithmetic of two threads over that of one: near 2 on two cores, near 1 on one
 * @param handoverNanos how long a cache line takes from one thread to the other; 0 of one processor
 */
record Cores(double gain, double handoverNanos) {
  private static final long NANOS = 40_000_000;

  /** From here on two threads have a core each. */
  static final double TWO = 1.8;

  boolean areTwo() {
    return gain >= TWO;
  }

  /** Measures for a fifth of a second. */
  static Cores measure() {
    if (Runtime.getRuntime().availableProcessors() == 1) {
      return new Cores(1, 0);
    }
    arithmetic(1);
    double one = arithmetic(1);
    double two = arithmetic(2);
    return new Cores(two / one, handover());
  }

  /** Loops in a nanosecond of all threads together. */
  private static double arithmetic(int threads) {
    double[] rate = new double[threads];
    run(threads, thread -> rate[thread] = loops());
    double sum = 0;
    for (double r : rate) {
      sum += r;
    }
    return sum;
  }

  private static double loops() {
    float[] v = new float[1024];
    long start = System.nanoTime();
    long loops = 0;
    long nanos;
    do {
      for (int i = 0; i < 100; i++) {
        step(v);
      }
      loops += 100;
      nanos = System.nanoTime() - start;
    } while (nanos < NANOS);
    return loops / (double) nanos;
  }

  private static void step(float[] v) {
    for (int i = 0; i < v.length; i++) {
      float x = v[i];
      x = x * 0.99f + 0.5f;
      x = x * 0.98f + 0.25f;
      x = x * 0.97f + 0.125f;
      x = x * 0.96f + 0.0625f;
      v[i] = x;
    }
  }

  private static double handover() {
    int turns = 40_000;
    AtomicInteger turn = new AtomicInteger();
    long[] nanos = new long[2];
    run(
        2,
        thread -> {
          long start = System.nanoTime();
          for (int i = thread; i < turns; i += 2) {
            while (turn.get() != i) {
              Thread.onSpinWait();
            }
            turn.set(i + 1);
          }
          nanos[thread] = System.nanoTime() - start;
        });
    return nanos[0] / (double) turns;
  }

  private interface Work {
    void run(int thread);
  }

  private static void run(int threads, Work work) {
    Thread[] all = new Thread[threads];
    for (int i = 0; i < threads; i++) {
      int thread = i;
      all[i] = new Thread(() -> work.run(thread));
      all[i].start();
    }
    for (Thread t : all) {
      try {
        t.join();
      } catch (InterruptedException e) {
        throw new IllegalStateException("interrupted while the cores were measured", e);
      }
    }
  }
}
