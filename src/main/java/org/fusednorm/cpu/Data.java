package org.fusednorm.cpu;

import org.fusednorm.DType;
import org.fusednorm.Half;
import org.fusednorm.Tensor;
import org.fusednorm.host.HostStorage;

/** The elements of a tensor as a kernel sees them; kept and pointed at one tensor after another. */
final class Data {
  HostStorage storage;
  long at;
  DType type;
  int width;

  /** Points at {@code t}, or at nothing for null. */
  void set(Tensor t) {
    if (t == null) {
      storage = null;
    } else {
      storage = (HostStorage) t.storage();
      at = t.byteOffset();
      type = t.dtype();
      width = type.bytes();
    }
  }

  /** The address of element {@code e}, or 0 where there is nothing. */
  long address(long e) {
    return storage == null ? 0 : storage.address() + at + e * width;
  }

  boolean isPresent() {
    return storage != null;
  }

  /** Reads elements from {@code e} on into {@code to[from..from+n)}, widened to F32. */
  void get(long e, float[] to, int from, int n, short[] half) {
    if (type == DType.F32) {
      storage.get(at + 4 * e, to, from, n);
      return;
    }
    storage.get(at + 2 * e, half, 0, n);
    if (type == DType.BF16) {
      for (int i = 0; i < n; i++) {
        to[from + i] = Half.fromBf16(half[i]);
      }
    } else {
      for (int i = 0; i < n; i++) {
        to[from + i] = Half.fromF16(half[i]);
      }
    }
  }

  /** Writes {@code v[0..n)} to the elements from {@code e} on, rounded. */
  void put(long e, float[] v, int n, short[] half) {
    if (type == DType.F32) {
      storage.put(at + 4 * e, v, 0, n);
      return;
    }
    if (type == DType.BF16) {
      for (int i = 0; i < n; i++) {
        half[i] = Half.toBf16(v[i]);
      }
    } else {
      for (int i = 0; i < n; i++) {
        half[i] = Half.toF16(v[i]);
      }
    }
    storage.put(at + 2 * e, half, 0, n);
  }

  /** One element, widened. */
  double get(long e) {
    return switch (type) {
      case F32 -> storage.getFloat(at + 4 * e);
      case F16 -> Half.fromF16(storage.getShort(at + 2 * e));
      case BF16 -> Half.fromBf16(storage.getShort(at + 2 * e));
      default -> storage.getDouble(at + 8 * e);
    };
  }

  /** Reads F64 elements. */
  void get(long e, double[] to, int from, int n) {
    storage.get(at + 8 * e, to, from, n);
  }

  /** Writes F64 elements. */
  void put(long e, double[] v, int n) {
    storage.put(at + 8 * e, v, 0, n);
  }
}
