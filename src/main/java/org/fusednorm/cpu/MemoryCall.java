package org.fusednorm.cpu;

import org.fusednorm.host.HostStorage;

/** Copies and clears memory on all threads: one alone cannot use all of its bandwidth. */
final class MemoryCall extends Job {
  /** Up to this many bytes, waking other threads costs more than they bring. */
  static final long ALONE_BYTES = 1 << 20;

  private static final long ITEM = 1 << 18;

  private final Workers workers;
  private HostStorage from;
  private long fromAt;
  private HostStorage to;
  private long toAt;
  private long bytes;

  MemoryCall(Workers workers) {
    this.workers = workers;
  }

  /** Copies between equal ranges or ranges apart. */
  void copy(HostStorage source, long sourceAt, HostStorage target, long targetAt, long n) {
    from = source;
    fromAt = sourceAt;
    launch(target, targetAt, n);
    from = null;
  }

  void zero(HostStorage target, long targetAt, long n) {
    from = null;
    launch(target, targetAt, n);
  }

  private void launch(HostStorage target, long targetAt, long n) {
    to = target;
    toAt = targetAt;
    bytes = n;
    int items = Math.toIntExact(Layout.ceil(n, ITEM));
    if (n <= ALONE_BYTES) {
      workers.runAlone(this, items);
    } else {
      workers.run(this, items);
    }
    to = null;
  }

  @Override
  void run(int item, Scratch s) {
    long at = item * ITEM;
    long n = Math.min(ITEM, bytes - at);
    if (from == null) {
      to.zero(toAt + at, n);
    } else {
      from.copy(fromAt + at, to, toAt + at, n);
    }
  }
}
