package org.fusednorm.reference;

import org.fusednorm.DType;
import org.fusednorm.Tensor;
import org.fusednorm.host.HostStorage;

/** Elements of tensors of any type as doubles or longs, one at a time. */
final class Values {
  private Values() {}

  static double get(Tensor t, long i) {
    HostStorage s = (HostStorage) t.storage();
    long at = offset(t, i);
    return switch (t.dtype()) {
      case F32 -> s.getFloat(at);
      case F16 -> SixteenBits.F16.decode(s.getShort(at));
      case BF16 -> SixteenBits.BF16.decode(s.getShort(at));
      case F64 -> s.getDouble(at);
      case U8 -> s.getByte(at) & 0xff;
      case I32, I64 -> throw new AssertionError(t);
    };
  }

  /** Rounds to nearest even. */
  static void put(Tensor t, long i, double v) {
    HostStorage s = (HostStorage) t.storage();
    long at = offset(t, i);
    switch (t.dtype()) {
      case F32 -> s.putFloat(at, (float) v);
      case F16 -> s.putShort(at, SixteenBits.F16.encode(v));
      case BF16 -> s.putShort(at, SixteenBits.BF16.encode(v));
      case F64 -> s.putDouble(at, v);
      case U8, I32, I64 -> throw new AssertionError(t);
    }
  }

  static long getLong(Tensor t, long i) {
    HostStorage s = (HostStorage) t.storage();
    return t.dtype() == DType.I32 ? s.getInt(offset(t, i)) : s.getLong(offset(t, i));
  }

  static void putLong(Tensor t, long i, long v) {
    ((HostStorage) t.storage()).putLong(offset(t, i), v);
  }

  static boolean getFlag(Tensor t, long i) {
    return ((HostStorage) t.storage()).getByte(offset(t, i)) != 0;
  }

  static void putFlag(Tensor t, long i, boolean v) {
    ((HostStorage) t.storage()).putByte(offset(t, i), (byte) (v ? 1 : 0));
  }

  private static long offset(Tensor t, long i) {
    return t.byteOffset() + i * t.dtype().bytes();
  }
}
