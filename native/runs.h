// Kernels on runs of neighbouring elements, for both layouts: a run lies in one plane and has the
// coefficients of one channel, or it is a tile of rows and has coefficients of its own in each
// lane.

#pragma once

#include "kernels.h"
#include "vector.h"

namespace {

using fusednorm::Call;
using fusednorm::Range;

// How ReLU acts: not at all, by x alone, or by bits that are kept because there is a residual.
enum class Gate { kNone, kRecomputed, kKept };

// One number for all lanes.
struct Same {
  F v;
  explicit Same(float f) : v(set(f)) {}
  INLINE_MEMBER F at(int64_t) const { return v; }
};

// A number for each lane, readable 16 past the last.
struct PerLane {
  const float* v;
  explicit PerLane(const float* p) : v(p) {}
  INLINE_MEMBER F at(int64_t i) const { return load(v + i); }
};

// Elements before the first 64-byte boundary.
template <class T>
INLINE int64_t to_boundary(const T* p) {
  return (int64_t)(-(uintptr_t)p % 64 / sizeof(T));
}

template <class T>
INLINE T* at_or_null(T* p, int64_t element) {
  return p ? p + element : nullptr;
}

INLINE void store_bits(uint8_t* p, Bits b, int64_t n) {
  p[0] = (uint8_t)b;
  if (n > 8) p[1] = (uint8_t)(b >> 8);
}

INLINE Bits load_bits(const uint8_t* p, int64_t n) { return n > 8 ? p[0] | p[1] << 8 : p[0]; }

// y = f((x - c) a + b + residual), and the gate where it is kept.
template <class T, Gate kGate, class C>
struct Normalize {
  const T* x;
  const T* residual;  // or null
  T* y;
  uint8_t* gate;
  C c, a, b;

  INLINE_MEMBER F at(int64_t i, int64_t n) const {
    F v = fma(sub(load_some(x + i, n), c.at(i)), a.at(i), b.at(i));
    if (residual) v = add(v, load_some(residual + i, n));
    if (kGate == Gate::kKept) store_bits(gate + i / 8, open(v), n);
    return kGate == Gate::kNone ? v : keep(v, v);
  }

  INLINE_MEMBER void ordinary(int64_t i, int64_t n) const { store_some(y + i, at(i, n), n); }

  INLINE_MEMBER void streamed(int64_t i) const { stream(y + i, at(i, kLanes)); }

  // What is streamed must begin at a boundary; bits are written by whole bytes.
  int64_t head(int64_t n) const {
    const int64_t h = to_boundary(y);
    return h < n && (kGate != Gate::kKept || h % 8 == 0) ? h : -1;
  }
};

// The gated dy of a run and x - c.
template <class T, Gate kGate, class C>
struct Gated {
  const T* x;
  const T* dy;
  const uint8_t* gate;
  C c, a, b;

  INLINE_MEMBER void at(int64_t i, int64_t n, F& g, F& d) const {
    d = sub(load_some(x + i, n), c.at(i));
    g = load_some(dy + i, n);
    if (kGate == Gate::kRecomputed) g = keep(g, fma(d, a.at(i), b.at(i)));
    if (kGate == Gate::kKept) g = keep(g, load_bits(gate + i / 8, n));
  }
};

// Adds g and g (x - c) of element i alone, the difference and the product in double.
template <class T, Gate kGate, class C>
__attribute__((noinline)) void add_in_double(const Gated<T, kGate, C>& in, int64_t i, double& g,
                                             double& gd) {
  F gated = load(in.dy + i, 1);
  const F xv = load(in.x + i, 1);
  const float center = in.c.at(i).r[0][0];
  if (kGate == Gate::kRecomputed)
    gated = keep(gated, fma(sub(xv, in.c.at(i)), in.a.at(i), in.b.at(i)));
  if (kGate == Gate::kKept) gated = keep(gated, (Bits)(in.gate[i / 8] >> (i % 8)));
  g += gated.r[0][0];
  gd += (double)gated.r[0][0] * ((double)xv.r[0][0] - center);
}

// dx = g a + (x - c) p + q, or g a where the statistics were constants, and dResidual = g.
template <class T, Gate kGate, class C>
struct InputGradient {
  Gated<T, kGate, C> in;
  T* dx;
  T* d_residual;  // or null
  bool constants;
  C p, q;

  INLINE_MEMBER F at(int64_t i, int64_t n) const {
    F g, d;
    in.at(i, n, g, d);
    if (d_residual) store_some(d_residual + i, g, n);
    if (constants) return mul(g, in.a.at(i));
    return fma(g, in.a.at(i), fma(d, p.at(i), q.at(i)));
  }

  INLINE_MEMBER void ordinary(int64_t i, int64_t n) const { store_some(dx + i, at(i, n), n); }

  INLINE_MEMBER void streamed(int64_t i) const { stream(dx + i, at(i, kLanes)); }

  int64_t head(int64_t n) const {
    const int64_t h = to_boundary(dx);
    return h < n && (kGate != Gate::kKept || h % 8 == 0) ? h : -1;
  }
};

// The ends of runs, out of line: they are a small part of the work and would be most of the code.
template <class Out>
__attribute__((noinline)) void write_end(const Out& out, int64_t i, int64_t n) {
  out.ordinary(i, n);
}

template <class Out>
INLINE void write_head(const Out& out, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) write_end(out, i, n - i < kLanes ? n - i : kLanes);
}

// Writes n elements of a run, past the caches where that is wanted and the address allows it.
template <class Out>
INLINE void write(const Out& out, int64_t n, bool streams) {
  // A copy whose address nobody has stays in registers.
  const Out o = out;
  int64_t i = 0;
  const int64_t head = streams ? o.head(n) : -1;
  if (head >= 0) {
    write_head(out, head);
    for (i = head; i + kLanes <= n; i += kLanes) o.streamed(i);
  } else {
    for (; i + kLanes <= n; i += kLanes) o.ordinary(i, kLanes);
  }
  if (i < n) write_end(out, i, n - i);
}

// What moments add up over a run: u = w = x - k.
template <class T, class C>
struct MomentTerms {
  const T* x;
  C k;

  INLINE_MEMBER void at(int64_t i, int64_t n, F& u, F& w) const {
    u = sub(load_some(x + i, n), k.at(i));
    if (n != kLanes) u = first(u, n);
    w = u;
  }
};

// What gradient sums add up: u = g, w = x - c.
template <class T, Gate kGate, class C>
struct GradientTerms {
  Gated<T, kGate, C> in;

  INLINE_MEMBER void at(int64_t i, int64_t n, F& u, F& w) const {
    in.at(i, n, u, w);
    if (n != kLanes) w = first(w, n);
  }
};

// Below this, a sum of squares may have lost what underflowed.
constexpr double kTiny = 1e-30;
constexpr double kMostFloat = 3.4028234663852886e38;

// Whether F32 sums of shifted values tell their M2: not when the shift was far from the mean, and
// not when squares over- or underflowed.
INLINE bool is_exact(double sum, double sum2, double m2) {
  const bool constant = (sum == 0) & (sum2 == 0);
  return constant | ((m2 >= 0.25 * sum2) & (sum2 >= kTiny) & (sum2 <= kMostFloat));
}

INLINE bool is_finite(double v) { return __builtin_fabs(v) <= kMostFloat; }

// Mean and M2 of values seen so far; others join by Chan's formula.
struct Moments {
  double mean, m2;

  INLINE_MEMBER void join(double other_mean, double other_m2, double weight, double before) {
    const double d = other_mean - mean;
    mean += d * weight;
    m2 += other_m2 + d * d * (weight * before);
  }
};

}  // namespace
