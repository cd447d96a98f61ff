package org.fusednorm;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Whether something may still be used: a tensor, a scope's generation, a backend. A view's lifetime
 * has its owner's as parent, so it ends with it.
 */
final class Lifetime {
  /** {@code -Dfusednorm.trace=true} keeps the places of opening and closing. */
  static final boolean TRACE = Boolean.getBoolean("fusednorm.trace");

  private final Lifetime parent;
  private final AtomicInteger pins = new AtomicInteger();
  private final Throwable openedAt;
  private volatile boolean closed;
  private volatile Throwable closedAt;

  Lifetime(Lifetime parent) {
    this.parent = parent;
    openedAt = TRACE ? new Throwable("opened here") : null;
  }

  /** Throws unless this and everything it lies in are open. */
  void check(Object what) {
    for (Lifetime l = this; l != null; l = l.parent) {
      if (l.closed) {
        String hint = TRACE ? "" : " (-Dfusednorm.trace=true shows where)";
        throw new IllegalStateException(what + " was closed" + hint, l.closedAt);
      }
    }
  }

  boolean isOpen() {
    for (Lifetime l = this; l != null; l = l.parent) {
      if (l.closed) {
        return false;
      }
    }
    return true;
  }

  Throwable openedAt() {
    return openedAt;
  }

  /**
   * Keeps this and everything it lies in from being closed, for a recording.
   *
   * @throws IllegalStateException when it is closed already
   */
  void pin(Object what) {
    for (Lifetime l = this; l != null; l = l.parent) {
      l.pins.incrementAndGet();
    }
    try {
      // After counting: a close that came first is seen here, one that comes later sees the count.
      check(what);
    } catch (IllegalStateException e) {
      unpin();
      throw e;
    }
  }

  void unpin() {
    for (Lifetime l = this; l != null; l = l.parent) {
      l.pins.decrementAndGet();
    }
  }

  /**
   * Ends it.
   *
   * @return false when it had ended before
   * @throws IllegalStateException while a recording needs it
   */
  synchronized boolean close(Object what) {
    if (closed) {
      return false;
    }
    closed = true;
    if (pins.get() > 0) {
      closed = false;
      throw new IllegalStateException(
          what + " is used by " + pins.get() + " place(s) of an open recording: close that first");
    }
    closedAt = TRACE ? new Throwable("closed here") : null;
    return true;
  }
}
