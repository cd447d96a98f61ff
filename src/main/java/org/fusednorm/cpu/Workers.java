package org.fusednorm.cpu;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;

/**
 * The threads of an engine: the caller and daemon helpers that are started once, spin shortly after
 * work and then park. Every thread has a slice of the items and takes from those of others when its
 * own is done: a thread finds in its cache what it wrote in the job before, and one that the system
 * takes away delays nobody. Which thread does an item has no influence on results.
 *
 * <p>One job runs on the helpers at a time. A caller that finds them taken works alone.
 */
final class Workers implements AutoCloseable {
  /** Outlasts what a training step does between two verbs that are worth all threads. */
  private static final long SPIN_NANOS = 200_000;

  /** Jobs that take less than this do not pay for a second thread anywhere. */
  static final long LEAST_NANOS = 1_300;

  /** Integers from one slice's counter to the next: two cache lines, which are fetched in pairs. */
  private static final int STRIDE = 32;

  private final Helper[] helpers;
  private final ThreadLocal<Scratch> scratch = ThreadLocal.withInitial(Scratch::new);
  private final AtomicBoolean taken = new AtomicBoolean();
  private final AtomicIntegerArray next;
  private final AtomicInteger inside = new AtomicInteger();
  private final long spinNanos;
  private int items;
  private int slices;
  private volatile Job job;
  private volatile int round;
  private volatile boolean closed;
  private volatile Throwable failure;
  private boolean started;

  Workers(int threads) {
    helpers = new Helper[threads - 1];
    next = new AtomicIntegerArray((threads + 1) * STRIDE);
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
    boolean whole = false;
    try {
      for (int i = 0; i < count; i++) {
        j.run(i, s);
      }
      whole = true;
    } finally {
      j.end(s, whole);
    }
  }

  /**
   * Runs items 0 to {@code count - 1} and returns when they are done: on all threads if the calling
   * one alone would take {@code nanos}, about, and that is worth it.
   */
  void run(Job j, int count, long nanos) {
    if (nanos < scratch.get().worthHelp) {
      runAlone(j, count);
    } else {
      run(j, count);
    }
  }

  /** Runs items 0 to {@code count - 1} on all threads and returns when they are done. */
  void run(Job j, int count) {
    if (count <= 1 || helpers.length == 0 || closed || !taken.compareAndSet(false, true)) {
      runAlone(j, count);
      return;
    }
    try {
      // Where the caller's own item failed too, a helper's failure was left here.
      failure = null;
      items = count;
      slices = Math.min(count, threads());
      for (int slice = 0; slice < slices; slice++) {
        next.setPlain(at(slice), from(slice));
      }
      job = j;
      round++;
      wake(Math.min(count - 1, helpers.length));
      try {
        work(j, 0, scratch.get());
      } finally {
        // No helper enters from here on; those inside finish the item that they hold.
        skipTheRest();
        job = null;
        awaitHelpers();
      }
      rethrow();
    } finally {
      taken.set(false);
    }
  }

  private static int at(int slice) {
    return (slice + 1) * STRIDE;
  }

  private int from(int slice) {
    return (int) ((long) items * slice / slices);
  }

  private void work(Job j, int thread, Scratch s) {
    boolean whole = false;
    try {
      takeItems(j, thread, s);
      whole = true;
    } finally {
      j.end(s, whole);
    }
  }

  private void takeItems(Job j, int thread, Scratch s) {
    int slice = thread % slices;
    for (int done = 0; done < slices; done++) {
      int at = at(slice);
      int end = from(slice + 1);
      // Looked at first: what is taken already stays in the cache of the one who took it.
      while (next.get(at) < end) {
        int item = next.getAndIncrement(at);
        if (item < end) {
          j.run(item, s);
        }
      }
      slice = slice + 1 < slices ? slice + 1 : 0;
    }
  }

  private void skipTheRest() {
    for (int slice = 0; slice < slices; slice++) {
      next.set(at(slice), items);
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
    scratch.remove();
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
    private final int number;
    private volatile boolean parked;

    Helper(int number) {
      super("fusednorm-cpu-" + number);
      this.number = number;
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
            work(j, number, own);
          }
        } catch (Throwable t) {
          failure = t;
          skipTheRest();
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
