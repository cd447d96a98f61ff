package org.fusednorm;

/**
 * Internal: a run of bytes in a device's memory, made and freed by its {@link Engine}. Everything
 * about lifetimes and bounds is decided above it.
 */
public abstract class Storage {
  private final long address;
  private final long bytes;

  /**
   * Describes a run of bytes.
   *
   * @param address first byte, or 0 where the memory has no address that Java can see
   */
  protected Storage(long address, long bytes) {
    this.address = address;
    this.bytes = bytes;
  }

  /** Address of the first byte, or 0 where the memory has no address that Java can see. */
  public final long address() {
    return address;
  }

  /** Number of bytes. */
  public final long bytes() {
    return bytes;
  }
}
