// The only header that knows which compiler reads a kernel: nvcc for a GPU, or a plain C++ compiler
// that runs the same source on the host, thread by thread. Kernels use what is declared here in
// place of raw __shared__, inline PTX and vector types.
#pragma once

#include <stddef.h>
#include <stdint.h>

// 16 bytes: what one thread moves at once. Its address is a multiple of 16.
struct alignas(16) Packed {
  uint32_t word[4];
};

// Half of that.
struct alignas(8) PackedHalf {
  uint32_t word[2];
};

#ifdef __CUDACC__
#include "portable_device.cuh"
#else
#include "portable_host.h"
#endif

// An element type: what is stored, the Value that it is computed in (float, for F64 double), kLanes
// of them in 16 bytes. Rounding is to nearest even; a NaN stays one.
struct F32 {
  using Stored = float;
  using Value = float;
  static constexpr int kLanes = 4;
  static BN_DEVICE float widen(Stored v) { return v; }
  static BN_DEVICE Stored narrow(float v) { return v; }
  static BN_DEVICE void unpack(const Packed& p, float (&v)[kLanes]) {
    BN_UNROLL
    for (int i = 0; i < kLanes; ++i) v[i] = float_of_bits(p.word[i]);
  }
  static BN_DEVICE Packed pack(const float (&v)[kLanes]) {
    Packed p;
    BN_UNROLL
    for (int i = 0; i < kLanes; ++i) p.word[i] = bits_of_float(v[i]);
    return p;
  }
};

// Two 16-bit values share a word, the first one in its lower half.
template <class Format>
struct Half {
  using Stored = uint16_t;
  using Value = float;
  static constexpr int kLanes = 8;
  static BN_DEVICE float widen(Stored v) { return Format::widen(v); }
  static BN_DEVICE Stored narrow(float v) { return uint16_t(Format::narrow(v, v)); }
  static BN_DEVICE void unpack(const Packed& p, float (&v)[kLanes]) {
    BN_UNROLL
    for (int i = 0; i < kLanes; ++i) v[i] = Format::widen(uint16_t(p.word[i / 2] >> 16 * (i % 2)));
  }
  static BN_DEVICE Packed pack(const float (&v)[kLanes]) {
    Packed p;
    BN_UNROLL
    for (int i = 0; i < 4; ++i) p.word[i] = Format::narrow(v[2 * i], v[2 * i + 1]);
    return p;
  }
};

struct F16 : Half<F16Format> {};
struct BF16 : Half<BF16Format> {};

struct F64 {
  using Stored = double;
  using Value = double;
  static constexpr int kLanes = 2;
  static BN_DEVICE double widen(Stored v) { return v; }
  static BN_DEVICE Stored narrow(double v) { return v; }
  static BN_DEVICE void unpack(const Packed& p, double (&v)[kLanes]) {
    BN_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      v[i] = double_of_bits(p.word[2 * i] | uint64_t(p.word[2 * i + 1]) << 32);
    }
  }
  static BN_DEVICE Packed pack(const double (&v)[kLanes]) {
    Packed p;
    BN_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      p.word[2 * i] = uint32_t(bits_of_double(v[i]));
      p.word[2 * i + 1] = uint32_t(bits_of_double(v[i]) >> 32);
    }
    return p;
  }
};
