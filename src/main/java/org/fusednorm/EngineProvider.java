package org.fusednorm;

/**
 * Internal: how {@link Backends} finds engines without knowing them, through {@link
 * java.util.ServiceLoader}.
 */
public interface EngineProvider {
  /** Name in {@link Backends#open}: {@code cuda}, {@code cpu}, {@code reference}. */
  String name();

  /** Backends of higher rank are preferred by {@link Backends#best}. */
  int rank();

  /** Whether {@link #open} will work; never throws, and is cheap after the first call. */
  Availability availability();

  /**
   * Opens an engine.
   *
   * @param index number of the device, from 0
   * @throws IllegalArgumentException when a setting is malformed
   * @throws BackendException when the device does not exist or cannot be opened
   */
  Engine open(int index);

  /**
   * Opens an engine whose work goes to a stream of somebody else.
   *
   * @param index number of the device, from 0
   * @param stream the address of the stream, a CUstream or cudaStream_t
   * @throws BackendException also where there are no streams
   */
  default Engine openOnStream(int index, long stream) {
    throw new BackendException("the " + name() + " backend has no streams: open it without one");
  }
}
