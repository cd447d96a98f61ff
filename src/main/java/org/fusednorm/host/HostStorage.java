package org.fusednorm.host;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.util.Arrays;
import java.util.function.Function;
import org.fusednorm.BackendException;
import org.fusednorm.Storage;

/**
 * Internal: memory of the host, one run of bytes that Java sees through windows of 1 GiB.
 *
 * <p>With the native library it is one block with an address; without, every window is a direct
 * buffer of its own, there is no address, and freed memory returns when the garbage collector finds
 * it. Plain-Java kernels need not know which: they copy runs of elements in and out by byte offset.
 * Offsets are multiples of the element size, so no element lies across two windows.
 */
public final class HostStorage extends Storage {
  private static final int WINDOW_BITS = 30;
  private static final long WINDOW = 1L << WINDOW_BITS;
  private static final int ALIGNMENT = 64;
  private static final ByteBuffer ZEROS = ByteBuffer.allocateDirect(1 << 16).asReadOnlyBuffer();

  private final ByteBuffer[] bytes;
  private final FloatBuffer[] floats;
  private final DoubleBuffer[] doubles;
  private final ShortBuffer[] shorts;
  private final IntBuffer[] ints;
  private final LongBuffer[] longs;

  private HostStorage(long address, long size, ByteBuffer[] windows) {
    super(address, size);
    bytes = windows;
    floats = views(windows, ByteBuffer::asFloatBuffer, FloatBuffer[]::new);
    doubles = views(windows, ByteBuffer::asDoubleBuffer, DoubleBuffer[]::new);
    shorts = views(windows, ByteBuffer::asShortBuffer, ShortBuffer[]::new);
    ints = views(windows, ByteBuffer::asIntBuffer, IntBuffer[]::new);
    longs = views(windows, ByteBuffer::asLongBuffer, LongBuffer[]::new);
  }

  private static <B extends Buffer> B[] views(
      ByteBuffer[] windows, Function<ByteBuffer, B> as, Function<Integer, B[]> array) {
    return Arrays.stream(windows).map(as).toArray(array::apply);
  }

  /**
   * Takes memory of undefined content, aligned to 64 bytes.
   *
   * @throws BackendException naming the size, when there is none
   */
  public static HostStorage allocate(long size) {
    if (NativeLibrary.isAvailable()) {
      long address = NativeLibrary.allocate(size);
      if (address == 0) {
        throw new BackendException("allocate(" + size + " bytes): the host has no more memory");
      }
      return at(address, size);
    }
    return withoutLibrary(size);
  }

  /** The same in Java alone: direct buffers, one for each window. */
  static HostStorage withoutLibrary(long size) {
    ByteBuffer[] windows = new ByteBuffer[count(size)];
    for (int i = 0; i < windows.length; i++) {
      int length = (int) Math.min(WINDOW, size - ((long) i << WINDOW_BITS));
      try {
        windows[i] =
            // A slice is aligned at both ends, so up to twice the alignment goes.
            ByteBuffer.allocateDirect(length + 2 * ALIGNMENT)
                .alignedSlice(ALIGNMENT)
                .limit(length)
                .slice()
                .order(ByteOrder.nativeOrder());
      } catch (OutOfMemoryError e) {
        throw new BackendException(
            "allocateDirect("
                + size
                + " bytes): "
                + e.getMessage()
                + "; -XX:MaxDirectMemorySize sets the limit",
            e);
      }
    }
    return new HostStorage(0, size, windows);
  }

  /** Memory at an address: of {@link NativeLibrary#allocate} or foreign. */
  public static HostStorage at(long address, long size) {
    if (!NativeLibrary.isAvailable()) {
      throw new BackendException(
          "memory cannot be reached by address here: " + NativeLibrary.unavailabilityCause());
    }
    ByteBuffer[] windows = new ByteBuffer[count(size)];
    for (int i = 0; i < windows.length; i++) {
      long from = (long) i << WINDOW_BITS;
      int length = (int) Math.min(WINDOW, size - from);
      windows[i] = NativeLibrary.window(address + from, length).order(ByteOrder.nativeOrder());
    }
    return new HostStorage(address, size, windows);
  }

  /** The memory of a direct buffer, {@code size} bytes from {@code position} on. */
  public static HostStorage over(ByteBuffer direct, int position, int size) {
    ByteBuffer window = direct.slice(position, size).order(ByteOrder.nativeOrder());
    long address = NativeLibrary.isAvailable() ? NativeLibrary.address(direct) + position : 0;
    return new HostStorage(address, size, new ByteBuffer[] {window});
  }

  /** Gives memory of {@link #allocate} back. */
  public void free() {
    if (address() != 0) {
      NativeLibrary.free(address());
    }
  }

  private static int count(long size) {
    return Math.max(1, Math.toIntExact((size + WINDOW - 1) >>> WINDOW_BITS));
  }

  private static int window(long offset) {
    return (int) (offset >>> WINDOW_BITS);
  }

  private static int within(long offset) {
    return (int) (offset & (WINDOW - 1));
  }

  /** How many elements of {@code size} bytes there are from {@code offset} to the window's end. */
  private static int run(long offset, int size, int wanted) {
    return (int) Math.min(wanted, (WINDOW - within(offset)) / size);
  }

  /** Copies {@code n} floats from byte {@code offset} on to {@code to[at]} and following. */
  public void get(long offset, float[] to, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 4L * done;
      int run = run(o, 4, n - done);
      floats[window(o)].get(within(o) >>> 2, to, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} floats to byte {@code offset} and following. */
  public void put(long offset, float[] from, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 4L * done;
      int run = run(o, 4, n - done);
      floats[window(o)].put(within(o) >>> 2, from, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} doubles from byte {@code offset} on. */
  public void get(long offset, double[] to, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 8L * done;
      int run = run(o, 8, n - done);
      doubles[window(o)].get(within(o) >>> 3, to, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} doubles to byte {@code offset} and following. */
  public void put(long offset, double[] from, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 8L * done;
      int run = run(o, 8, n - done);
      doubles[window(o)].put(within(o) >>> 3, from, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} 16-bit words from byte {@code offset} on. */
  public void get(long offset, short[] to, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 2L * done;
      int run = run(o, 2, n - done);
      shorts[window(o)].get(within(o) >>> 1, to, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} 16-bit words to byte {@code offset} and following. */
  public void put(long offset, short[] from, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + 2L * done;
      int run = run(o, 2, n - done);
      shorts[window(o)].put(within(o) >>> 1, from, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} bytes from byte {@code offset} on. */
  public void get(long offset, byte[] to, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + done;
      int run = run(o, 1, n - done);
      bytes[window(o)].get(within(o), to, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} bytes to byte {@code offset} and following. */
  public void put(long offset, byte[] from, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + done;
      int run = run(o, 1, n - done);
      bytes[window(o)].put(within(o), from, at + done, run);
      done += run;
    }
  }

  /** The byte at {@code offset}. */
  public byte getByte(long offset) {
    return bytes[window(offset)].get(within(offset));
  }

  /** Replaces the byte at {@code offset}. */
  public void putByte(long offset, byte v) {
    bytes[window(offset)].put(within(offset), v);
  }

  /** The 16-bit word at byte {@code offset}. */
  public short getShort(long offset) {
    return shorts[window(offset)].get(within(offset) >>> 1);
  }

  /** Replaces the 16-bit word at byte {@code offset}. */
  public void putShort(long offset, short v) {
    shorts[window(offset)].put(within(offset) >>> 1, v);
  }

  /** The float at byte {@code offset}. */
  public float getFloat(long offset) {
    return floats[window(offset)].get(within(offset) >>> 2);
  }

  /** Replaces the float at byte {@code offset}. */
  public void putFloat(long offset, float v) {
    floats[window(offset)].put(within(offset) >>> 2, v);
  }

  /** The double at byte {@code offset}. */
  public double getDouble(long offset) {
    return doubles[window(offset)].get(within(offset) >>> 3);
  }

  /** Replaces the double at byte {@code offset}. */
  public void putDouble(long offset, double v) {
    doubles[window(offset)].put(within(offset) >>> 3, v);
  }

  /** The 32-bit integer at byte {@code offset}. */
  public int getInt(long offset) {
    return ints[window(offset)].get(within(offset) >>> 2);
  }

  /** Replaces the 32-bit integer at byte {@code offset}. */
  public void putInt(long offset, int v) {
    ints[window(offset)].put(within(offset) >>> 2, v);
  }

  /** The 64-bit integer at byte {@code offset}. */
  public long getLong(long offset) {
    return longs[window(offset)].get(within(offset) >>> 3);
  }

  /** Replaces the 64-bit integer at byte {@code offset}. */
  public void putLong(long offset, long v) {
    longs[window(offset)].put(within(offset) >>> 3, v);
  }

  /** Copies {@code n} bytes of a buffer of any kind to byte {@code offset} and following. */
  public void upload(ByteBuffer from, int at, long offset, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + done;
      int run = run(o, 1, n - done);
      bytes[window(o)].put(within(o), from, at + done, run);
      done += run;
    }
  }

  /** Copies {@code n} bytes from byte {@code offset} on into a buffer of any kind. */
  public void download(long offset, ByteBuffer to, int at, int n) {
    for (int done = 0; done < n; ) {
      long o = offset + done;
      int run = run(o, 1, n - done);
      to.put(at + done, bytes[window(o)], within(o), run);
      done += run;
    }
  }

  /** Copies {@code n} bytes to another storage; equal ranges or ranges apart. */
  public void copy(long offset, HostStorage to, long toOffset, long n) {
    for (long done = 0; done < n; ) {
      long o = offset + done;
      int run = run(o, 1, (int) Math.min(n - done, WINDOW));
      to.upload(bytes[window(o)], within(o), toOffset + done, run);
      done += run;
    }
  }

  /** Sets {@code n} bytes from byte {@code offset} on to zero. */
  public void zero(long offset, long n) {
    for (long done = 0; done < n; ) {
      int run = (int) Math.min(n - done, ZEROS.capacity());
      upload(ZEROS, 0, offset + done, run);
      done += run;
    }
  }
}
