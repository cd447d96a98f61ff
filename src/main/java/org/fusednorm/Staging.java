package org.fusednorm;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;

/**
 * The way between Java arrays or typed buffers and a device: pieces of 64 KB through a direct
 * buffer of the calling thread, converted on the way. Taken once per thread, so that a transfer
 * allocates nothing.
 */
final class Staging {
  private static final int BYTES = 1 << 16;
  private static final ThreadLocal<Staging> MINE = ThreadLocal.withInitial(Staging::new);

  private final ByteBuffer bytes = ByteBuffer.allocateDirect(BYTES).order(ByteOrder.nativeOrder());
  private final FloatBuffer floats = bytes.asFloatBuffer();
  private final DoubleBuffer doubles = bytes.asDoubleBuffer();
  private final ShortBuffer shorts = bytes.asShortBuffer();
  private final IntBuffer ints = bytes.asIntBuffer();
  private final LongBuffer longs = bytes.asLongBuffer();

  private Staging() {}

  /** Converts and uploads the one array that is not null. */
  static void write(Tensor t, int length, float[] f, double[] d, long[] l) {
    t.check();
    t.backend().noHostAccessWhileRecording("copy into ", t);
    if (length != t.shape().elements()) {
      throw new IllegalArgumentException(length + " values do not fit " + t);
    }
    Staging s = MINE.get();
    int piece = BYTES / t.dtype().bytes();
    for (int from = 0; from < length; from += piece) {
      int n = Math.min(piece, length - from);
      if (f != null && t.dtype() == DType.F32) {
        s.floats.put(0, f, from, n);
      } else if (d != null && t.dtype() == DType.F64) {
        s.doubles.put(0, d, from, n);
      } else if (l != null) {
        for (int i = 0; i < n; i++) {
          s.encode(t.dtype(), i, l[from + i]);
        }
      } else {
        for (int i = 0; i < n; i++) {
          s.encode(t, i, f != null ? f[from + i] : d[from + i]);
        }
      }
      s.upload(t, from, n);
    }
  }

  /** Downloads and converts into the one array that is not null. */
  static void read(Tensor t, float[] f, double[] d, long[] l) {
    t.check();
    t.backend().noHostAccessWhileRecording("read of ", t);
    Staging s = MINE.get();
    int length = (int) t.shape().elements();
    int piece = BYTES / t.dtype().bytes();
    for (int from = 0; from < length; from += piece) {
      int n = Math.min(piece, length - from);
      s.download(t, from, n);
      if (f != null && t.dtype() == DType.F32) {
        s.floats.get(0, f, from, n);
      } else if (d != null && t.dtype() == DType.F64) {
        s.doubles.get(0, d, from, n);
      } else {
        for (int i = 0; i < n; i++) {
          if (f != null) {
            f[from + i] = (float) s.decode(t.dtype(), i);
          } else if (d != null) {
            d[from + i] = s.decode(t.dtype(), i);
          } else {
            l[from + i] = s.decodeLong(t.dtype(), i);
          }
        }
      }
    }
  }

  /** Uploads the remaining elements of a typed buffer, whose type and size were checked. */
  static void upload(Tensor t, Buffer b) {
    Staging s = MINE.get();
    int piece = BYTES / t.dtype().bytes();
    for (int from = 0; from < b.remaining(); from += piece) {
      int n = Math.min(piece, b.remaining() - from);
      int at = b.position() + from;
      switch (t.dtype()) {
        case F32 -> s.floats.put(0, (FloatBuffer) b, at, n);
        case F64 -> s.doubles.put(0, (DoubleBuffer) b, at, n);
        case F16, BF16 -> s.shorts.put(0, (ShortBuffer) b, at, n);
        case I32 -> s.ints.put(0, (IntBuffer) b, at, n);
        case I64 -> s.longs.put(0, (LongBuffer) b, at, n);
        default -> throw new AssertionError(t.dtype());
      }
      s.upload(t, from, n);
    }
  }

  /** Downloads into the remaining room of a typed buffer, whose type and size were checked. */
  static void download(Tensor t, Buffer b) {
    Staging s = MINE.get();
    int piece = BYTES / t.dtype().bytes();
    for (int from = 0; from < b.remaining(); from += piece) {
      int n = Math.min(piece, b.remaining() - from);
      int at = b.position() + from;
      s.download(t, from, n);
      switch (t.dtype()) {
        case F32 -> ((FloatBuffer) b).put(at, s.floats, 0, n);
        case F64 -> ((DoubleBuffer) b).put(at, s.doubles, 0, n);
        case F16, BF16 -> ((ShortBuffer) b).put(at, s.shorts, 0, n);
        case I32 -> ((IntBuffer) b).put(at, s.ints, 0, n);
        case I64 -> ((LongBuffer) b).put(at, s.longs, 0, n);
        default -> throw new AssertionError(t.dtype());
      }
    }
  }

  /** Copies between backends through the host. */
  static void transfer(Tensor from, Tensor to) {
    Staging s = MINE.get();
    int piece = BYTES / from.dtype().bytes();
    for (long at = 0; at < from.shape().elements(); at += piece) {
      int n = (int) Math.min(piece, from.shape().elements() - at);
      s.download(from, at, n);
      s.upload(to, at, n);
    }
  }

  static void put(Tensor t, long i, double v) {
    Staging s = MINE.get();
    s.encode(t, 0, v);
    s.upload(t, i, 1);
  }

  static double get(Tensor t, long i) {
    Staging s = MINE.get();
    s.download(t, i, 1);
    return s.decode(t.dtype(), 0);
  }

  private void upload(Tensor t, long element, int n) {
    int size = t.dtype().bytes();
    long offset = t.byteOffset() + element * size;
    long stamp = t.backend().enter();
    try {
      t.check();
      t.backend().engine().upload(bytes, 0, t.storage(), offset, n * size);
    } finally {
      t.backend().leave(stamp);
    }
  }

  private void download(Tensor t, long element, int n) {
    int size = t.dtype().bytes();
    long offset = t.byteOffset() + element * size;
    long stamp = t.backend().enter();
    try {
      t.check();
      t.backend().engine().download(t.storage(), offset, bytes, 0, n * size);
    } finally {
      t.backend().leave(stamp);
    }
  }

  private void encode(Tensor t, int i, double v) {
    switch (t.dtype()) {
      case F32 -> floats.put(i, (float) v);
      case F16 -> shorts.put(i, Half.toF16(v));
      case BF16 -> shorts.put(i, Half.toBf16(v));
      case F64 -> doubles.put(i, v);
      default -> {
        if (v != Math.rint(v) || Math.abs(v) > 1L << 53) {
          throw new IllegalArgumentException(v + " does not fit " + t);
        }
        encode(t.dtype(), i, (long) v);
      }
    }
  }

  private void encode(DType t, int i, long v) {
    long low = t == DType.U8 ? 0 : t == DType.I32 ? Integer.MIN_VALUE : Long.MIN_VALUE;
    long high = t == DType.U8 ? 255 : t == DType.I32 ? Integer.MAX_VALUE : Long.MAX_VALUE;
    if (!t.isFloating() && (v < low || v > high)) {
      throw new IllegalArgumentException(v + " does not fit " + t);
    }
    switch (t) {
      case F32 -> floats.put(i, v);
      case F16 -> shorts.put(i, Half.toF16(v));
      case BF16 -> shorts.put(i, Half.toBf16(v));
      case F64 -> doubles.put(i, v);
      case U8 -> bytes.put(i, (byte) v);
      case I32 -> ints.put(i, (int) v);
      case I64 -> longs.put(i, v);
    }
  }

  private double decode(DType t, int i) {
    return switch (t) {
      case F32 -> floats.get(i);
      case F16 -> Half.fromF16(shorts.get(i));
      case BF16 -> Half.fromBf16(shorts.get(i));
      case F64 -> doubles.get(i);
      default -> decodeLong(t, i);
    };
  }

  private long decodeLong(DType t, int i) {
    return switch (t) {
      case U8 -> bytes.get(i) & 0xff;
      case I32 -> ints.get(i);
      case I64 -> longs.get(i);
      default -> throw new AssertionError(t);
    };
  }
}
