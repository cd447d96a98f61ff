package org.fusednorm;

/**
 * Where a backend computes.
 *
 * @param backend name of the backend: {@code cuda}, {@code cpu} or {@code reference}
 * @param index number of the device among those of the backend, from 0
 */
public record Device(String backend, int index) {
  /** For example {@code cuda:1}. */
  @Override
  public String toString() {
    return backend + ":" + index;
  }
}
