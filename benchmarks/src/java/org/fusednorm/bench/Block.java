package org.fusednorm.bench;

import java.nio.ByteBuffer;
import org.fusednorm.DType;
import org.fusednorm.Half;
import org.fusednorm.host.NativeLibrary;

/**
 * Memory for another library's data: of the same kind as ours, aligned and in huge pages, so that
 * no difference comes from there.
 */
final class Block implements AutoCloseable {
  private static final int PIECE = 1 << 16;

  private final DType type;
  private final long elements;
  private final long address;

  /** Room for elements of F32, F16 or BF16, all 0, every page touched. */
  Block(DType type, long elements) {
    this.type = type;
    this.elements = elements;
    address = NativeLibrary.allocate(bytes());
    if (address == 0) {
      throw new OutOfMemoryError(bytes() + " bytes");
    }
    NativeLibrary.fill(address, bytes(), (byte) 0);
  }

  Block(float[] values) {
    this(DType.F32, values.length);
    fill((from, to, n) -> System.arraycopy(values, (int) from, to, 0, n));
  }

  Block(NormCase c, NormData.Values values) {
    this(c.type(), c.elements());
    fill(values);
  }

  private void fill(NormData.Values values) {
    float[] piece = new float[PIECE];
    short[] halves = new short[PIECE];
    for (long from = 0; from < elements; from += PIECE) {
      int n = (int) Math.min(PIECE, elements - from);
      values.fill(from, piece, n);
      ByteBuffer window = window(from, n);
      if (type == DType.F32) {
        window.asFloatBuffer().put(piece, 0, n);
      } else {
        for (int i = 0; i < n; i++) {
          halves[i] = type == DType.BF16 ? Half.toBf16(piece[i]) : Half.toF16(piece[i]);
        }
        window.asShortBuffer().put(halves, 0, n);
      }
    }
  }

  float[] toFloats() {
    float[] all = new float[Math.toIntExact(elements)];
    short[] halves = new short[PIECE];
    for (int from = 0; from < all.length; from += PIECE) {
      int n = Math.min(PIECE, all.length - from);
      ByteBuffer window = window(from, n);
      if (type == DType.F32) {
        window.asFloatBuffer().get(all, from, n);
      } else {
        window.asShortBuffer().get(halves, 0, n);
        for (int i = 0; i < n; i++) {
          all[from + i] = type == DType.BF16 ? Half.fromBf16(halves[i]) : Half.fromF16(halves[i]);
        }
      }
    }
    return all;
  }

  private ByteBuffer window(long from, int n) {
    return NativeLibrary.window(address + type.bytes() * from, type.bytes() * n);
  }

  /** All of it, as a direct buffer. */
  ByteBuffer buffer() {
    return NativeLibrary.window(address, Math.toIntExact(bytes()));
  }

  long address() {
    return address;
  }

  long bytes() {
    return type.bytes() * elements;
  }

  @Override
  public void close() {
    NativeLibrary.free(address);
  }
}
