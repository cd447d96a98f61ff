// What the kernels use of AVX-512, with loops: so that they are tested, slowly, where no processor
// has it. Included before all else (see Makefile).

#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace emulated {

template <class To, class From>
inline To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

struct Floats {
  float v[16];
};
struct Words {
  uint32_t v[16];
};
struct Halves {
  uint16_t v[16];
};

// f(lane) for each lane.
template <class Lanes, class To, class Lane>
inline To each(Lane f) {
  Lanes all;
  for (int i = 0; i < 16; ++i) all.v[i] = f(i);
  return as<To>(all);
}

inline __m512 setzero_ps() {
  return each<Floats, __m512>([](int) { return 0.0f; });
}
inline __m512i set1_epi32(int v) {
  return each<Words, __m512i>([=](int) { return (uint32_t)v; });
}
inline __m512 fmadd_ps(__m512 a, __m512 b, __m512 c) {
  const Floats x = as<Floats>(a), y = as<Floats>(b), z = as<Floats>(c);
  return each<Floats, __m512>([&](int i) { return fmaf(x.v[i], y.v[i], z.v[i]); });
}

// The two comparisons that are used: !(a <= b), and whether one is NaN.
inline __mmask16 cmp_ps_mask(__m512 a, __m512 b, int how) {
  const Floats x = as<Floats>(a), y = as<Floats>(b);
  unsigned bits = 0;
  for (int i = 0; i < 16; ++i) {
    const bool set = how == _CMP_NLE_UQ ? !(x.v[i] <= y.v[i]) : isnan(x.v[i]) || isnan(y.v[i]);
    bits |= (unsigned)set << i;
  }
  return (__mmask16)bits;
}
inline __m512 maskz_mov_ps(__mmask16 m, __m512 a) {
  const Floats x = as<Floats>(a);
  return each<Floats, __m512>([&](int i) { return m >> i & 1 ? x.v[i] : 0; });
}

// Not one byte of other lanes is touched.
inline __m512 maskz_loadu_ps(__mmask16 m, const void* p) {
  return each<Floats, __m512>([&](int i) { return m >> i & 1 ? ((const float*)p)[i] : 0; });
}
inline void mask_storeu_ps(void* p, __mmask16 m, __m512 a) {
  const Floats x = as<Floats>(a);
  for (int i = 0; i < 16; ++i) {
    if (m >> i & 1) ((float*)p)[i] = x.v[i];
  }
}

// Past the caches goes only what begins at a boundary.
template <class V>
inline void stream(void* p, V a) {
  if ((uintptr_t)p % 64 != 0) __builtin_trap();
  memcpy(p, &a, 64);
}

template <class Lane>
inline __m512i each_word(__m512i a, Lane f) {
  const Words x = as<Words>(a);
  return each<Words, __m512i>([&](int i) { return f(x.v[i]); });
}
inline __m512i slli_epi32(__m512i a, int n) {
  return each_word(a, [=](uint32_t v) { return v << n; });
}
inline __m512i srli_epi32(__m512i a, int n) {
  return each_word(a, [=](uint32_t v) { return v >> n; });
}
inline __m512i add_epi32(__m512i a, __m512i b) {
  const Words x = as<Words>(a), y = as<Words>(b);
  return each<Words, __m512i>([&](int i) { return x.v[i] + y.v[i]; });
}
inline __m512i and_si512(__m512i a, __m512i b) {
  const Words x = as<Words>(a), y = as<Words>(b);
  return each<Words, __m512i>([&](int i) { return x.v[i] & y.v[i]; });
}
inline __m512i mask_or_epi32(__m512i otherwise, __mmask16 m, __m512i a, __m512i b) {
  const Words x = as<Words>(a), y = as<Words>(b), o = as<Words>(otherwise);
  return each<Words, __m512i>([&](int i) { return m >> i & 1 ? x.v[i] | y.v[i] : o.v[i]; });
}

inline __m512i cvtepu16_epi32(__m256i a) {
  const Halves x = as<Halves>(a);
  return each<Words, __m512i>([&](int i) { return (uint32_t)x.v[i]; });
}
inline __m256i cvtepi32_epi16(__m512i a) {
  const Words x = as<Words>(a);
  return each<Halves, __m256i>([&](int i) { return (uint16_t)x.v[i]; });
}
inline __m512 cvtph_ps(__m256i a) {
  const __m256 halves[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(a)),
                            _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1))};
  __m512 all;
  memcpy(&all, halves, sizeof all);
  return all;
}
inline __m256i cvtps_ph(__m512 a) {
  __m256 halves[2];
  memcpy(halves, &a, sizeof a);
  return _mm256_set_m128i(_mm256_cvtps_ph(halves[1], _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(halves[0], _MM_FROUND_TO_NEAREST_INT));
}

// The first half and the second one.
inline __m512i both(__m256i a, __m256i b) {
  const __m256i halves[2] = {a, b};
  __m512i all;
  memcpy(&all, halves, sizeof all);
  return all;
}
inline __m256i first_half(__m512i a) {
  __m256i half;
  memcpy(&half, &a, sizeof half);
  return half;
}

}  // namespace emulated

#undef _mm512_cmp_ps_mask
#undef _mm512_cvtps_ph
#undef _mm512_inserti64x4
#undef _mm512_slli_epi32
#undef _mm512_srli_epi32
#define _mm512_add_epi32 emulated::add_epi32
#define _mm512_and_si512 emulated::and_si512
#define _mm512_castps_si512 emulated::as<__m512i>
#define _mm512_castsi256_si512(a) emulated::both(a, a)
#define _mm512_cmp_ps_mask emulated::cmp_ps_mask
#define _mm512_cvtepi32_epi16 emulated::cvtepi32_epi16
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#define _mm512_cvtph_ps emulated::cvtph_ps
#define _mm512_cvtps_ph(a, rounding) emulated::cvtps_ph(a)
#define _mm512_fmadd_ps emulated::fmadd_ps
#define _mm512_inserti64x4(a, b, second) emulated::both(emulated::first_half(a), b)
#define _mm512_mask_or_epi32 emulated::mask_or_epi32
#define _mm512_mask_storeu_ps emulated::mask_storeu_ps
#define _mm512_maskz_loadu_ps emulated::maskz_loadu_ps
#define _mm512_maskz_mov_ps emulated::maskz_mov_ps
#define _mm512_set1_epi32 emulated::set1_epi32
#define _mm512_setzero_ps emulated::setzero_ps
#define _mm512_slli_epi32 emulated::slli_epi32
#define _mm512_srli_epi32 emulated::srli_epi32
#define _mm512_stream_ps emulated::stream
#define _mm512_stream_si512 emulated::stream
