package org.fusednorm.host;

/**
 * Instruction sets that the kernels of the native library are compiled for, each of them a part of
 * the next. Internal.
 */
public enum Isa {
  /** What every x86-64 processor has. */
  SSE2("SSE2"),

  /** AVX2 with FMA and F16C. */
  AVX2("AVX2"),

  /** AVX-512 F, BW, VL and DQ. */
  AVX512("AVX-512");

  private final String label;

  Isa(String label) {
    this.label = label;
  }

  /** The name that people know. */
  public String label() {
    return label;
  }
}
