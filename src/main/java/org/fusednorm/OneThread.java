package org.fusednorm;

import java.util.concurrent.atomic.AtomicReference;

/** Notices a second thread in what serves one at a time. */
final class OneThread {
  private final String what;
  private final AtomicReference<Thread> user = new AtomicReference<>();

  OneThread(String what) {
    this.what = what;
  }

  /**
   * Starts a use.
   *
   * @throws IllegalStateException while another use is going on
   */
  void enter() {
    Thread me = Thread.currentThread();
    Thread other = user.compareAndExchange(null, me);
    if (other != null) {
      throw new IllegalStateException(
          what
              + " serves one thread at a time: "
              + other.getName()
              + " is using it, "
              + me.getName()
              + " came in between");
    }
  }

  void leave() {
    user.set(null);
  }
}
