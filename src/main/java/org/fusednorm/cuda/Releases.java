package org.fusednorm.cuda;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.IntSupplier;

/**
 * What has to be given back to the driver, last taken first. One that fails does not keep the
 * others: all are tried, then the first failure is thrown.
 */
final class Releases {
  private final Deque<Runnable> releases = new ArrayDeque<>();

  /** To be called later: a call of the driver and its name. */
  void add(String call, IntSupplier release) {
    add(() -> Cuda.check(release.getAsInt(), call));
  }

  /** To be run later. */
  void add(Runnable release) {
    releases.push(release);
  }

  /** Gives everything back. */
  void run() {
    RuntimeException first = null;
    while (!releases.isEmpty()) {
      try {
        releases.pop().run();
      } catch (RuntimeException e) {
        if (first == null) {
          first = e;
        } else {
          first.addSuppressed(e);
        }
      }
    }
    if (first != null) {
      throw first;
    }
  }
}
