// One vocabulary of vectors for every instruction set. An F is 16 floats everywhere, in one
// register or in several: a cache line of F32, two bytes of gate bits, and the same order of
// additions, so that instruction sets with fused multiply-add agree to the bit.
//
// What GCC and Clang express with vector extensions is written once; only loads and stores of a
// part, streaming and 16-bit conversion differ. Without AVX the registers have four lanes: SSE2,
// NEON.

#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// Or test/avx512.h does what AVX-512 is asked for.
#if defined(__AVX512F__) || defined(FUSEDNORM_EMULATED_AVX512)
#define FUSEDNORM_AVX512
#endif

// Each instruction set compiles a copy of its own, which the linker must not merge with another.
namespace {

struct Bf16 {
  uint16_t bits;
};

struct F16 {
  uint16_t bits;
};

#if defined(FUSEDNORM_AVX512)
constexpr int kRegs = 1;
#elif defined(__AVX2__)
constexpr int kRegs = 2;
#else
constexpr int kRegs = 4;
#endif

constexpr int64_t kLanes = 16;
constexpr int64_t kRegLanes = kLanes / kRegs;

typedef float Reg __attribute__((vector_size(4 * kRegLanes)));
typedef float UnalignedReg __attribute__((vector_size(4 * kRegLanes), aligned(4), may_alias));
typedef int32_t IntReg __attribute__((vector_size(4 * kRegLanes)));
typedef uint32_t WordReg __attribute__((vector_size(4 * kRegLanes)));
typedef uint16_t HalfReg __attribute__((vector_size(2 * kRegLanes)));

// Sixteen floats.
struct F {
  Reg r[kRegs];
};

// One bit per lane of an F, lane 0 lowest.
using Bits = uint32_t;

// What watches every access makes too much code of functions within functions.
#if defined(__SANITIZE_ADDRESS__)
#define INLINE static inline
#define INLINE_MEMBER inline
#else
#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#endif
#define EACH_REG(k) _Pragma("GCC unroll 4") for (int k = 0; k < kRegs; ++k)

alignas(64) constexpr int32_t kOnesThenZeros[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                            -1, -1, -1, -1, -1, -1, -1, -1};
alignas(64) constexpr int32_t kLaneBit[kLanes] = {
    1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};

// All ones in the first n lanes.
INLINE IntReg first_lanes(int64_t n, int k) {
  IntReg m;
  memcpy(&m, kOnesThenZeros + kLanes - n + k * kRegLanes, sizeof m);
  return m;
}

INLINE F set(float v) {
  F f;
  EACH_REG(k) f.r[k] = Reg{} + v;
  return f;
}

INLINE F add(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] + b.r[k];
  return a;
}

INLINE F sub(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] - b.r[k];
  return a;
}

INLINE F mul(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] * b.r[k];
  return a;
}

INLINE F div(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] / b.r[k];
  return a;
}

INLINE F least(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] < b.r[k] ? a.r[k] : b.r[k];
  return a;
}

INLINE F most(F a, F b) {
  EACH_REG(k) a.r[k] = a.r[k] > b.r[k] ? a.r[k] : b.r[k];
  return a;
}

// a b + c: in one rounding where the instruction set can, always in two where it cannot.
INLINE F fma(F a, F b, F c) {
  EACH_REG(k) {
#if defined(FUSEDNORM_AVX512)
    a.r[k] = _mm512_fmadd_ps(a.r[k], b.r[k], c.r[k]);
#elif defined(__AVX2__)
    a.r[k] = _mm256_fmadd_ps(a.r[k], b.r[k], c.r[k]);
#elif defined(__ARM_NEON)
    a.r[k] = vfmaq_f32(c.r[k], a.r[k], b.r[k]);
#else
    a.r[k] = a.r[k] * b.r[k] + c.r[k];
#endif
  }
  return a;
}

// Zero in all lanes but the first n.
INLINE F first(F v, int64_t n) {
  EACH_REG(k) v.r[k] = (Reg)((IntReg)v.r[k] & first_lanes(n, k));
  return v;
}

// g where !(v <= 0), NaN included, and +0 elsewhere. keep(v, v) is relu, which keeps NaN.
INLINE F keep(F g, F v) {
#if defined(FUSEDNORM_AVX512)
  g.r[0] =
      _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v.r[0], _mm512_setzero_ps(), _CMP_NLE_UQ), g.r[0]);
#else
  EACH_REG(k) g.r[k] = (Reg)((IntReg)g.r[k] & ~(IntReg)(v.r[k] <= Reg{}));
#endif
  return g;
}

// g where the bit is set, and +0 elsewhere.
INLINE F keep(F g, Bits b) {
#if defined(FUSEDNORM_AVX512)
  g.r[0] = _mm512_maskz_mov_ps((__mmask16)b, g.r[0]);
#else
  EACH_REG(k) {
    IntReg lane;
    memcpy(&lane, kLaneBit + k * kRegLanes, sizeof lane);
    g.r[k] = (Reg)((IntReg)g.r[k] & (IntReg)(((IntReg{} + (int32_t)b) & lane) == lane));
  }
#endif
  return g;
}

// The bits of !(v <= 0).
INLINE Bits open(F v) {
#if defined(FUSEDNORM_AVX512)
  return _mm512_cmp_ps_mask(v.r[0], _mm512_setzero_ps(), _CMP_NLE_UQ);
#else
  Bits b = 0;
  EACH_REG(k) {
#if defined(__AVX2__)
    const int m = _mm256_movemask_ps((__m256)(v.r[k] <= Reg{}));
#elif defined(__SSE2__)
    const int m = _mm_movemask_ps((__m128)(v.r[k] <= Reg{}));
#else
    int m = 0;
    for (int j = 0; j < kRegLanes; ++j) m |= (v.r[k][j] <= 0) << j;
#endif
    b |= (Bits)m << (k * kRegLanes);
  }
  return ~b & 0xffff;
#endif
}

typedef float FourFloats __attribute__((vector_size(16)));
typedef double FourDoubles __attribute__((vector_size(32)));

// The sum in double, in the same order for every instruction set.
INLINE double sum(F v) {
  FourFloats f[4];
  memcpy(f, &v, sizeof f);
  FourDoubles d[4];
  for (int i = 0; i < 4; ++i) d[i] = __builtin_convertvector(f[i], FourDoubles);
  const FourDoubles s = (d[0] + d[2]) + (d[1] + d[3]);
  return (s[0] + s[2]) + (s[1] + s[3]);
}

INLINE FourFloats add(FourFloats a, FourFloats b) { return a + b; }
INLINE FourFloats least(FourFloats a, FourFloats b) { return a < b ? a : b; }
INLINE FourFloats most(FourFloats a, FourFloats b) { return a > b ? a : b; }

// The sum of the two in the middle of four, lane by lane.
template <class V>
INLINE V middle_of(V a, V b, V c, V d) {
  return add(most(least(a, b), least(c, d)), least(most(a, b), most(c, d)));
}

// The sum of half of the lanes: of each four that are four apart the two in the middle.
INLINE double middle_sum(F v) {
  FourFloats f[4];
  memcpy(f, &v, sizeof f);
  const FourFloats middle = middle_of(f[0], f[1], f[2], f[3]);
  const FourDoubles s = __builtin_convertvector(middle, FourDoubles);
  return (s[0] + s[2]) + (s[1] + s[3]);
}

// ---- Loads and stores at any address: all lanes, or the first n, which are 1 to 15 then.

INLINE F load(const float* p) {
  F f;
  EACH_REG(k) f.r[k] = *(const UnalignedReg*)(p + k * kRegLanes);
  return f;
}

// The other lanes are 0, and not one byte of theirs is touched.
INLINE F load(const float* p, int64_t n) {
#if defined(FUSEDNORM_AVX512)
  return {{_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p)}};
#elif defined(__AVX2__)
  return {{_mm256_maskload_ps(p, (__m256i)first_lanes(n, 0)),
           _mm256_maskload_ps(p + kRegLanes, (__m256i)first_lanes(n, 1))}};
#else
  float all[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) all[i] = p[i];
  return load(all);
#endif
}

INLINE void store(float* p, F v) { EACH_REG(k) * (UnalignedReg*)(p + k * kRegLanes) = v.r[k]; }

INLINE void store(float* p, F v, int64_t n) {
#if defined(FUSEDNORM_AVX512)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v.r[0]);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)first_lanes(n, 0), v.r[0]);
  _mm256_maskstore_ps(p + kRegLanes, (__m256i)first_lanes(n, 1), v.r[1]);
#else
  memcpy(p, &v, 4 * n);
#endif
}

// Elements of a cache line.
template <class T>
constexpr int64_t kLine = 64 / (int64_t)sizeof(T);

// Asks for the line of p, which may be any address.
INLINE void prefetch(const void* p) { __builtin_prefetch(p); }

// The same to write there.
INLINE void prefetch_to_write(const void* p) { __builtin_prefetch(p, 1); }

// A store past the caches, for p on a boundary of 64 bytes. Always a whole line: a part of one may
// be sent to memory before the rest comes, which takes many times as long.
INLINE void stream(float* p, F v) {
#if defined(FUSEDNORM_AVX512)
  _mm512_stream_ps(p, v.r[0]);
#elif defined(__AVX2__)
  EACH_REG(k) _mm256_stream_ps(p + k * kRegLanes, v.r[k]);
#elif defined(__SSE2__)
  EACH_REG(k) _mm_stream_ps(p + k * kRegLanes, v.r[k]);
#else
  store(p, v);
#endif
}

// Streaming stores become visible to other threads before what follows.
INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// ---- 16-bit types, rounded to nearest even; NaN stays NaN.

// Sixteen of them.
#if defined(__AVX2__)
typedef __m256i Halves;
#else
struct Halves {
  HalfReg r[kRegs];
};
#endif

// Without instructions for them, conversions are long and stay out of line.
#if defined(__AVX2__)
#define INLINE_HALF INLINE
#else
#define INLINE_HALF __attribute__((noinline)) static
#endif

INLINE WordReg select(IntReg mask, WordReg a, WordReg b) {
  return ((WordReg)mask & a) | (~(WordReg)mask & b);
}

#if defined(FUSEDNORM_AVX512)
INLINE F widen(Halves h, const Bf16*) {
  return {{(Reg)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)}};
}

INLINE F widen(Halves h, const F16*) { return {{_mm512_cvtph_ps(h)}}; }

INLINE Halves narrow(F f, const Bf16*) {
  const __m512i bits = _mm512_castps_si512(f.r[0]);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(f.r[0], f.r[0], _CMP_UNORD_Q);
  const __m512i all = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(all, 16));
}

INLINE Halves narrow(F f, const F16*) { return _mm512_cvtps_ph(f.r[0], _MM_FROUND_TO_NEAREST_INT); }
#elif defined(__AVX2__)
INLINE Reg widen(__m128i h, const Bf16*) {
  return (Reg)_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
}

INLINE Reg widen(__m128i h, const F16*) { return _mm256_cvtph_ps(h); }

template <class T>
INLINE F widen(Halves h, const T* p) {
  return {{widen(_mm256_castsi256_si128(h), p), widen(_mm256_extracti128_si256(h, 1), p)}};
}

INLINE Halves narrow(F f, const Bf16*) {
  __m256i rounded[kRegs];
  EACH_REG(k) {
    const __m256i bits = _mm256_castps_si256(f.r[k]);
    const __m256i odd = _mm256_srli_epi32(_mm256_slli_epi32(bits, 15), 31);
    rounded[k] = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  }
  // A NaN is rare, and to look for one is cheaper than to blend.
  if (__builtin_expect(_mm256_movemask_ps(_mm256_cmp_ps(f.r[0], f.r[1], _CMP_UNORD_Q)), 0)) {
    EACH_REG(k) {
      const __m256i bits = _mm256_castps_si256(f.r[k]);
      const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f.r[k], f.r[k], _CMP_UNORD_Q));
      const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
      rounded[k] = _mm256_blendv_epi8(rounded[k], quiet, nan);
    }
  }
  EACH_REG(k) rounded[k] = _mm256_srli_epi32(rounded[k], 16);
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded[0], rounded[1]), 0xd8);
}

INLINE Halves narrow(F f, const F16*) {
  return _mm256_set_m128i(_mm256_cvtps_ph(f.r[1], _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(f.r[0], _MM_FROUND_TO_NEAREST_INT));
}
#else
INLINE_HALF F widen(Halves h, const Bf16*) {
  F f;
  EACH_REG(k) f.r[k] = (Reg)(__builtin_convertvector(h.r[k], WordReg) << 16);
  return f;
}

INLINE_HALF Halves narrow(F f, const Bf16*) {
  Halves h;
  EACH_REG(k) {
    const WordReg bits = (WordReg)f.r[k];
    const IntReg nan = (IntReg)(bits & 0x7fffffff) > 0x7f800000;
    const WordReg rounded = bits + 0x7fff + ((bits >> 16) & 1);
    h.r[k] = __builtin_convertvector(select(nan, bits | 0x400000, rounded) >> 16, HalfReg);
  }
  return h;
}

INLINE_HALF F widen(Halves h, const F16*) {
  F f;
  EACH_REG(k) {
    const WordReg bits = __builtin_convertvector(h.r[k], WordReg);
    const WordReg magnitude = bits & 0x7fff;
    // Subnormals count in units of 2^-24; infinity and NaN get the highest exponent.
    const Reg small = __builtin_convertvector((IntReg)magnitude, Reg) * 0x1p-24f;
    const WordReg shift =
        select((IntReg)magnitude < 0x7c00, WordReg{} + (112 << 23), WordReg{} + (224u << 23));
    const WordReg normal = (magnitude << 13) + shift;
    f.r[k] =
        (Reg)(((bits & 0x8000) << 16) | select((IntReg)magnitude < 0x400, (WordReg)small, normal));
  }
  return f;
}

INLINE_HALF Halves narrow(F f, const F16*) {
  Halves h;
  EACH_REG(k) {
    const WordReg bits = (WordReg)f.r[k];
    const WordReg magnitude = bits & 0x7fffffff;
    // Adding 0.5 leaves the bits of a subnormal at the end of the mantissa, rounded.
    const WordReg small = (WordReg)((Reg)magnitude + 0.5f) - 0x3f000000;
    const WordReg rebiased = magnitude - (112 << 23);
    const WordReg normal = (rebiased + 0xfff + ((rebiased >> 13) & 1)) >> 13;
    const WordReg special =
        select((IntReg)magnitude > 0x7f800000, WordReg{} + 0x7e00, WordReg{} + 0x7c00);
    const WordReg finite = select((IntReg)magnitude < 0x38800000, small, normal);
    const WordReg all = select((IntReg)magnitude < 0x477ff000, finite, special);
    h.r[k] = __builtin_convertvector(((bits >> 16) & 0x8000) | all, HalfReg);
  }
  return h;
}
#endif

template <class T>
INLINE F load(const T* p) {
#if defined(__AVX2__) && !defined(FUSEDNORM_AVX512)
  // Each half by itself: its load is part of what widens it.
  F f;
  EACH_REG(k) f.r[k] = widen(_mm_loadu_si128((const __m128i*)p + k), p);
  return f;
#else
  Halves h;
  memcpy(&h, p, sizeof h);
  return widen(h, p);
#endif
}

// The ends of 16-bit runs, out of line: a small part of the work, but otherwise much of the code.
template <class T>
__attribute__((noinline)) F load(const T* p, int64_t n) {
  Halves h = {};
  memcpy(&h, p, 2 * n);
  return widen(h, p);
}

template <class T>
INLINE void store(T* p, F v) {
  const Halves h = narrow(v, p);
  memcpy(p, &h, sizeof h);
}

template <class T>
__attribute__((noinline)) void store(T* p, F v, int64_t n) {
  const Halves h = narrow(v, p);
  memcpy(p, &h, 2 * n);
}

// The first half of a line and the second one.
template <class T>
INLINE void stream(T* p, F v, F w) {
  const Halves h[2] = {narrow(v, p), narrow(w, p)};
#if defined(FUSEDNORM_AVX512)
  _mm512_stream_si512((__m512i*)p, _mm512_inserti64x4(_mm512_castsi256_si512(h[0]), h[1], 1));
#elif defined(__AVX2__)
  _mm256_stream_si256((__m256i*)p, h[0]);
  _mm256_stream_si256((__m256i*)p + 1, h[1]);
#else
  memcpy(p, h, sizeof h);
#endif
}

// All lanes, or the first n.
template <class T>
INLINE F load_some(const T* p, int64_t n) {
  return n == kLanes ? load(p) : load(p, n);
}

template <class T>
INLINE void store_some(T* p, F v, int64_t n) {
  if (n == kLanes) {
    store(p, v);
  } else {
    store(p, v, n);
  }
}

// One value, through the same conversion.
INLINE float value(const float* p) { return *p; }
INLINE float value(const Bf16* p) {
  const uint32_t bits = (uint32_t)p->bits << 16;
  float v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
INLINE float value(const F16* p) { return load(p, 1).r[0][0]; }

}  // namespace
