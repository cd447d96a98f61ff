package org.fusednorm;

import java.lang.System.Logger.Level;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A piece of memory taken from an engine, given back exactly once: by close, by the backend's
 * close, or, as a net, by the cleaner when its tensor became unreachable. Must not refer to that
 * tensor.
 */
final class Allocation implements Runnable {
  private static final System.Logger LOG = System.getLogger("org.fusednorm");

  private final Backend backend;
  private final Storage storage;
  private final long bytes;
  private final Throwable openedAt;
  private final AtomicBoolean released = new AtomicBoolean();

  Allocation(Backend backend, Storage storage, long bytes, Throwable openedAt) {
    this.backend = backend;
    this.storage = storage;
    this.bytes = bytes;
    this.openedAt = openedAt;
  }

  Storage storage() {
    return storage;
  }

  long bytes() {
    return bytes;
  }

  void release() {
    if (released.compareAndSet(false, true)) {
      backend.released(this);
    }
  }

  /** Called by the cleaner, also after an orderly release. */
  @Override
  public void run() {
    if (!released.get()) {
      LOG.log(
          Level.WARNING,
          bytes
              + " bytes on "
              + backend.device()
              + " were never closed; freed because their tensor is unreachable"
              + (Lifetime.TRACE ? "" : " (-Dfusednorm.trace=true shows where they were taken)"),
          openedAt);
      release();
    }
  }
}
