package org.fusednorm.host;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * The JNI library and the host memory that it gives out. Internal.
 *
 * <p>Every method below {@link #ensureAvailable()} needs the library and throws what that method
 * throws where it is missing. Addresses are plain numbers: whoever calls {@link #allocate} owns the
 * block, knows its size and calls {@link #free} once; ranges are checked for sense here, not
 * against the blocks that are live. All methods may be called from any thread.
 */
public final class NativeLibrary {
  /** Alignment in bytes of every block that {@link #allocate} returns. */
  public static final int ALIGNMENT = 64;

  /** Size in bytes of the largest {@link #window}. */
  public static final int MAX_WINDOW = 1 << 30;

  private NativeLibrary() {}

  /** Loads the library once, at the first question, and keeps the answer. */
  private static final class Holder {
    static final Unavailable MISSING = NativeLoader.load();
  }

  /** Whether the library is loaded and fits this jar. */
  public static boolean isAvailable() {
    return Holder.MISSING == null;
  }

  /** Why the library is missing, in one sentence, or null where it is available. */
  public static String unavailabilityCause() {
    return isAvailable() ? null : Holder.MISSING.cause();
  }

  /** What would make the library available, in one sentence, or null where it is. */
  public static String unavailabilityCure() {
    return isAvailable() ? null : Holder.MISSING.cure();
  }

  /**
   * Returns where the library is available.
   *
   * @throws UnsatisfiedLinkError with cause and cure in its text otherwise
   */
  public static void ensureAvailable() {
    Unavailable missing = Holder.MISSING;
    if (missing != null) {
      Error error =
          new UnsatisfiedLinkError(
              "fusednorm's native library is unavailable: "
                  + missing.cause()
                  + "; "
                  + missing.cure());
      error.initCause(missing.thrown());
      throw error;
    }
  }

  /** The version compiled into the library: that of this jar. */
  public static String version() {
    ensureAvailable();
    return version0();
  }

  /** The best instruction set of this machine that the library has kernels for. */
  public static Isa isa() {
    ensureAvailable();
    return Isa.values()[isa0()];
  }

  /**
   * Takes a block of memory, its contents undefined. A block of zero bytes has an address of its
   * own too. Blocks from 4 MiB on ask the system for huge pages.
   *
   * @param bytes its size, not negative
   * @return its address, a multiple of {@link #ALIGNMENT}, or 0 where the system has no memory
   * @throws IllegalArgumentException for a negative size
   */
  public static long allocate(long bytes) {
    ensureAvailable();
    return allocate0(checkSize(bytes));
  }

  /**
   * Gives a block back.
   *
   * @param address what {@link #allocate} returned, not freed since; not 0
   * @throws IllegalArgumentException if allocate cannot have returned it
   */
  public static void free(long address) {
    ensureAvailable();
    if (address <= 0 || address % ALIGNMENT != 0) {
      throw new IllegalArgumentException(
          "not the address of an allocated block: 0x" + Long.toHexString(address));
    }
    free0(address);
  }

  /** Bytes of all blocks that are allocated and not freed, as they were asked for. */
  public static long allocatedBytes() {
    ensureAvailable();
    return allocatedBytes0();
  }

  /**
   * A view of memory as a direct buffer in native byte order. The buffer does not keep the memory
   * alive.
   *
   * @param address first byte
   * @param bytes capacity of the buffer, at most {@link #MAX_WINDOW}
   * @throws IllegalArgumentException for a range that no memory can have
   */
  public static ByteBuffer window(long address, int bytes) {
    ensureAvailable();
    if (bytes > MAX_WINDOW) {
      throw new IllegalArgumentException(
          "a window has at most " + MAX_WINDOW + " bytes, not " + bytes);
    }
    checkRange("window", address, bytes);
    return window0(address, bytes).order(ByteOrder.nativeOrder());
  }

  /**
   * The address of the byte at index 0 of a direct buffer, whatever its position. It is valid as
   * long as the buffer is reachable.
   *
   * @throws IllegalArgumentException if the buffer is not direct
   */
  public static long address(ByteBuffer direct) {
    ensureAvailable();
    Objects.requireNonNull(direct, "buffer");
    if (!direct.isDirect()) {
      throw new IllegalArgumentException("not a direct buffer: " + direct);
    }
    return address0(direct);
  }

  /**
   * Copies memory; the ranges may overlap.
   *
   * @throws IllegalArgumentException for a range that no memory can have
   */
  public static void copy(long from, long to, long bytes) {
    ensureAvailable();
    checkRange("source", from, bytes);
    checkRange("destination", to, bytes);
    copy0(from, to, bytes);
  }

  /**
   * Sets every byte of a range to one value.
   *
   * @throws IllegalArgumentException for a range that no memory can have
   */
  public static void fill(long address, long bytes, byte value) {
    ensureAvailable();
    checkRange("range", address, bytes);
    fill0(address, bytes, value);
  }

  private static long checkSize(long bytes) {
    if (bytes < 0) {
      throw new IllegalArgumentException("negative number of bytes: " + bytes);
    }
    return bytes;
  }

  private static void checkRange(String what, long address, long bytes) {
    checkSize(bytes);
    if (address <= 0 || address > Long.MAX_VALUE - bytes) {
      throw new IllegalArgumentException(
          what + " of " + bytes + " bytes at address 0x" + Long.toHexString(address));
    }
  }

  static native String version0();

  private static native int isa0();

  private static native long allocate0(long bytes);

  private static native void free0(long address);

  private static native long allocatedBytes0();

  private static native ByteBuffer window0(long address, int bytes);

  private static native long address0(ByteBuffer direct);

  private static native void copy0(long from, long to, long bytes);

  private static native void fill0(long address, long bytes, byte value);
}
