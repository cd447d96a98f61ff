package org.fusednorm;

/**
 * Element types of a {@link Tensor}. Integers are for storage only: no arithmetic verb takes them.
 */
public enum DType {
  /** IEEE 754 binary32. */
  F32(4),
  /** IEEE 754 binary16. */
  F16(2),
  /** The upper half of binary32. */
  BF16(2),
  /** IEEE 754 binary64. */
  F64(8),
  /** Unsigned bytes. */
  U8(1),
  /** 32-bit signed integers. */
  I32(4),
  /** 64-bit signed integers. */
  I64(8);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /** Size of one element in bytes. */
  public int bytes() {
    return bytes;
  }

  /** True for F32, F16, BF16 and F64. */
  public boolean isFloating() {
    return this == F32 || this == F16 || this == BF16 || this == F64;
  }

  /**
   * The type of what is kept per channel beside data of this type: coefficients, gamma, beta and
   * their gradients. F64 for F64, else F32.
   */
  public DType parameter() {
    return this == F64 ? F64 : F32;
  }
}
