// portable.cuh for a plain C++ compiler: CUDA's own names come from the emulator. Whoever runs a
// kernel on the host links the emulator or, for kernels whose threads do not meet, defines the
// coordinates of the thread that is running and emulator::fault.
#pragma once

#include <math.h>

#include "emulator/blocks.h"
#include "emulator/language.h"

#define BN_DEVICE inline
#define BN_ARGUMENTS(type) const type
#define BN_UNROLL
#define BN_UNROLL_BY(n)
#define BN_ENTRY(threads) void
#define BN_RESIDENT_ENTRY(threads, blocks) void
#define BN_CLUSTERS 1
#define BN_CLUSTER_ENTRY(threads, resident, blocks) void
#define __shared__ BN_SHARED_instead_of_raw_shared_memory

#define BN_SHARED(type, name, n)    \
  static const char name##_tag = 0; \
  type(&name)[n] =                  \
      *static_cast<type(*)[n]>(shared_array(&name##_tag, sizeof(type[n]), alignof(type)))
#define BN_DYN_SHARED(type, name) type* const name = static_cast<type*>(dynamic_shared_array())

inline int64_t thread_in_grid() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
inline int64_t threads_in_grid() { return int64_t(gridDim.x) * blockDim.x; }

inline float float_of_bits(uint32_t bits) {
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
inline uint32_t bits_of_float(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}
inline double double_of_bits(uint64_t bits) {
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
inline uint64_t bits_of_double(double v) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

[[noreturn]] inline void give_up() { emulator::fault("gave up"); }

// Compile with -ffp-contract=off: then each of these rounds once.
inline float fma_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float add_rn(float a, float b) { return a + b; }
inline float sub_rn(float a, float b) { return a - b; }
inline double fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double add_rn(double a, double b) { return a + b; }
inline double sub_rn(double a, double b) { return a - b; }

// A GPU faults on a misaligned access, where the host would forgive it.
template <class T>
inline const T* aligned(const T* p, size_t alignment = sizeof(T)) {
  if (reinterpret_cast<uintptr_t>(p) % alignment != 0) {
    emulator::fault("misaligned access of %zu bytes at %p", alignment, (const void*)p);
  }
  return p;
}

template <class T>
inline T load_once(const T* p) {
  return *aligned(p);
}
template <class T>
inline T load_kept(const T* p) {
  return *aligned(p);
}
template <class T>
inline T load_fresh(const T* p) {
  return *aligned(p);
}
inline void from_memory() {}
inline void keep_packed(Packed&) {}
// Of whatever address: that is no access.
inline void prefetch(const void*) {}
template <class T>
inline void store(T* p, const T& v) {
  *const_cast<T*>(aligned(p)) = v;
}
inline float load_shared_by_many(const float* p) { return *aligned(p); }
inline double load_shared_by_many(const double* p) { return *aligned(p); }
inline void load_shared_by_many(const float* p, float (&v)[4]) {
  aligned(p, sizeof v);
  for (int i = 0; i < 4; ++i) v[i] = p[i];
}

struct F16Format {
  static float widen(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) {
      const float v = float(fraction) * 0x1p-24f;
      return sign ? -v : v;
    }
    const uint32_t biased = exponent == 31 ? 255 : exponent + 112;
    return float_of_bits(sign | biased << 23 | fraction << 13);
  }
  static uint16_t narrow(float v) {
    const uint32_t bits = bits_of_float(v), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return 0x7fff;                    // NaN, as the GPU writes it
    if (size >= 0x477ff000) return uint16_t(sign | 0x7c00);  // rounds to 65536 or more
    if (size < 0x38800000) {
      // Subnormal: adding 0.5 leaves units of 2^-24 in the fraction, rounded by the addition.
      return uint16_t(sign | (bits_of_float(float_of_bits(size) + 0.5f) - 0x3f000000));
    }
    const uint32_t rounded = size + 0xfff + (size >> 13 & 1);
    return uint16_t(sign | (rounded - (112u << 23)) >> 13);
  }
  static uint32_t narrow(float low, float high) {
    return narrow(low) | uint32_t(narrow(high)) << 16;
  }
};

struct BF16Format {
  static float widen(uint16_t v) { return float_of_bits(uint32_t(v) << 16); }
  static uint16_t narrow(float v) {
    const uint32_t bits = bits_of_float(v);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;  // NaN, as the GPU writes it
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  static uint32_t narrow(float low, float high) {
    return narrow(low) | uint32_t(narrow(high)) << 16;
  }
};
