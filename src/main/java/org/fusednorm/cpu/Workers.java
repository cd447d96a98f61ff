package org.fusednorm.cpu;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * The threads of an engine: the caller and daemon helpers that are started once, spin shortly after
 * work and then park. Items are handed out by a counter, so a thread that the system takes away
 * delays nobody; which thread does an item has no influence on results.
 *
 * <p>One job runs on the helpers at a time. A caller that finds them taken works alone.
 */
final class Workers implements AutoCloseable {
  /** About twice what a park and unpark takes; helps where one verb follows the other. */
  private static final long SPIN_NANOS = 50_000;

  private final Helper[] helpers;
  private final ThreadLocal<Scratch> scratch = ThreadLocal.withInitial(Scratch::new);
  private final AtomicBoolean taken = new AtomicBoolean();
  private final AtomicInteger next = new AtomicInteger();
  private final AtomicInteger inside = new AtomicInteger();
  private final long spinNanos;
  private int items;
  private volatile Job job;
  private volatile int round;
  private volatile boolean closed;
  private volatile Throwable failure;
  private boolean started;

  Workers(int threads) {
    helpers = new Helper[threads - 1];
    for (int i = 0; i < helpers.length; i++) {
      helpers[i] = new Helper(i + 1);
    }
    spinNanos = Runtime.getRuntime().availableProcessors() > 1 ? SPIN_NANOS : 0;
  }

  int threads() {
    return helpers.length + 1;
  }

  /** The buffers of the calling thread. */
  Scratch scratch() {
    return scratch.get();
  }

  /** Runs items 0 to {@code count - 1} in the calling thread. */
  void runAlone(Job j, int count) {
    Scratch s = scratch.get();
    for (int i = 0; i < count; i++) {
      j.run(i, s);
    }
  }

  /** Runs items 0 to {@code count - 1} on all threads and returns when they are done. */
  void run(Job j, int count) {
    if (count <= 1 || helpers.length == 0 || closed || !taken.compareAndSet(false, true)) {
      runAlone(j, count);
      return;
    }
    try {
      items = count;
      next.set(0);
      job = j;
      round++;
      wake(Math.min(count - 1, helpers.length));
      try {
        work(j, scratch.get());
      } finally {
        // No helper enters from here on; those inside finish the item that they hold.
        next.set(count);
        job = null;
        awaitHelpers();
      }
      rethrow();
    } finally {
      taken.set(false);
    }
  }

  private void work(Job j, Scratch s) {
    int count = items;
    for (int i = next.getAndIncrement(); i < count; i = next.getAndIncrement()) {
      j.run(i, s);
    }
  }

  private void wake(int wanted) {
    if (!started) {
      started = true;
      for (Helper h : helpers) {
        h.start();
      }
      return;
    }
    for (int i = 0; i < wanted; i++) {
      Helper h = helpers[i];
      if (h.parked) {
        LockSupport.unpark(h);
      }
    }
  }

  private void awaitHelpers() {
    for (int spins = 0; inside.get() != 0; spins++) {
      if (spins < 10_000) {
        Thread.onSpinWait();
      } else {
        Thread.yield();
      }
    }
  }

  private void rethrow() {
    Throwable t = failure;
    if (t != null) {
      failure = null;
      if (t instanceof Error e) {
        throw e;
      }
      throw (RuntimeException) t;
    }
  }

  /** Ends the helpers and waits for their end. */
  @Override
  public void close() {
    closed = true;
    boolean interrupted = false;
    for (Helper h : helpers) {
      LockSupport.unpark(h);
      while (h.isAlive()) {
        try {
          h.join();
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private final class Helper extends Thread {
    private volatile boolean parked;

    Helper(int number) {
      super("fusednorm-cpu-" + number);
      setDaemon(true);
    }

    @Override
    public void run() {
      Scratch own = scratch.get();
      int seen = 0;
      while (!closed) {
        if (round == seen) {
          await(seen);
          continue;
        }
        seen = round;
        inside.incrementAndGet();
        try {
          Job j = job;
          if (j != null) {
            work(j, own);
          }
        } catch (Throwable t) {
          failure = t;
          next.set(Integer.MAX_VALUE / 2);
        } finally {
          inside.decrementAndGet();
        }
      }
    }

    private void await(int seen) {
      long end = spinNanos == 0 ? 0 : System.nanoTime() + spinNanos;
      for (int i = 1; round == seen && !closed; i++) {
        Thread.onSpinWait();
        if (spinNanos == 0 || (i % 64 == 0 && System.nanoTime() - end > 0)) {
          parked = true;
          if (round == seen && !closed) {
            LockSupport.park(Workers.this);
          }
          parked = false;
          return;
        }
      }
    }
  }
}
