// Kernels on runs of neighbouring elements, for both layouts: a run lies in one plane and has the
// coefficients of one channel, or it is a tile of rows and has coefficients of its own in each
// lane.

#pragma once

#include "kernels.h"
#include "vector.h"

namespace {

using fusednorm::Call;
using fusednorm::Range;

// How ReLU acts: not at all, by x alone, or by bits that are kept because there is a residual. Or
// any of these as the call says, at each vector: a third of the code, where a branch costs little.
enum class Gate { kNone, kRecomputed, kKept, kAny };

template <class T>
constexpr bool kOneGateForAll = kRegs > 2 || sizeof(T) == 2;

// One number for all lanes.
struct Same {
  F v;
  explicit Same(float f) : v(set(f)) {}
  explicit Same(F f) : v(f) {}
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

// Where a vector lies: so many elements, lanes with coefficients, and bytes of gate bits behind
// where the pointers point. One object then serves several runs, and their pointers need no
// registers.
struct At {
  int64_t element, lane, bits;

  INLINE_MEMBER At plus(int64_t n) const { return {element + n, lane + n, bits + n / 8}; }
};

// Writes the line at p of `to` past the caches.
template <class Out, class T>
INLINE void stream_line(const Out& out, T* to, At p) {
  if constexpr (kLine<T> == kLanes) {
    stream(to + p.element, out.at(p, kLanes));
  } else {
    const F v = out.at(p, kLanes);
    stream(to + p.element, v, out.at(p.plus(kLanes), kLanes));
  }
}

// y = f((x - c) a + b + residual), and the gate where it is kept.
template <class T, Gate kGate, class C>
struct Normalize {
  using Type = T;

  const T* x;
  const T* residual;  // or null
  T* y;
  uint8_t* gate;  // or null: not kept
  bool relu;
  C c, a, b;
  int64_t ahead = 0;  // elements from x to what is read next, which is asked for meanwhile, or 0

  INLINE_MEMBER F at(At p, int64_t n) const {
    F v = fma(sub(load_some(x + p.element, n), c.at(p.lane)), a.at(p.lane), b.at(p.lane));
    if (residual) v = add(v, load_some(residual + p.element, n));
    if (is_kept()) store_bits(gate + p.bits, open(v), n);
    return kGate == Gate::kNone || (kGate == Gate::kAny && !relu) ? v : keep(v, v);
  }

  INLINE_MEMBER void ordinary(At p, int64_t n) const { store_some(y + p.element, at(p, n), n); }

  INLINE_MEMBER void ask(At p) const {
    prefetch(x + ahead + p.element);
    prefetch_to_write(y + ahead + p.element);
  }

  INLINE_MEMBER void streamed(At p) const {
    prefetch(x + ahead + p.element);
    stream_line(*this, y, p);
  }

  INLINE_MEMBER bool is_kept() const {
    return kGate == Gate::kKept || (kGate == Gate::kAny && gate);
  }

  // What is streamed must begin at a boundary; bits are written by whole bytes.
  int64_t head(At p, int64_t n) const {
    const int64_t h = to_boundary(y + p.element);
    return h < n && (!is_kept() || h % 8 == 0) ? h : -1;
  }
};

// The gated dy of a run and x - c.
template <class T, Gate kGate, class C>
struct Gated {
  const T* x;
  const T* dy;
  const uint8_t* gate;  // or null: not kept
  bool relu;
  C c, a, b;

  INLINE_MEMBER bool is_kept() const {
    return kGate == Gate::kKept || (kGate == Gate::kAny && gate);
  }
  INLINE_MEMBER bool is_recomputed() const {
    return kGate == Gate::kRecomputed || (kGate == Gate::kAny && relu && !gate);
  }

  INLINE_MEMBER void at(At p, int64_t n, F& g, F& d) const {
    d = sub(load_some(x + p.element, n), c.at(p.lane));
    g = load_some(dy + p.element, n);
    if (is_recomputed()) g = keep(g, fma(d, a.at(p.lane), b.at(p.lane)));
    if (is_kept()) g = keep(g, load_bits(gate + p.bits, n));
  }
};

// Adds g and g (x - c) of element i alone, the difference and the product in double.
template <class T, Gate kGate, class C>
__attribute__((noinline)) void add_in_double(const Gated<T, kGate, C>& in, int64_t i, double& g,
                                             double& gd) {
  F gated = load(in.dy + i, 1);
  const F xv = load(in.x + i, 1);
  const float center = in.c.at(i).r[0][0];
  if (in.is_recomputed()) gated = keep(gated, fma(sub(xv, in.c.at(i)), in.a.at(i), in.b.at(i)));
  if (in.is_kept()) gated = keep(gated, (Bits)(in.gate[i / 8] >> (i % 8)));
  g += gated.r[0][0];
  gd += (double)gated.r[0][0] * ((double)xv.r[0][0] - center);
}

// dx = g a + (x - c) p + q, or g a where the statistics may be constants and were, and dResidual =
// g.
template <class T, Gate kGate, class C, bool kMayBeConstants = true>
struct InputGradient {
  using Type = T;

  Gated<T, kGate, C> in;
  T* dx;
  T* d_residual;  // or null
  bool constants;
  C p, q;
  int64_t ahead = 0;  // as for x above, and of dy

  INLINE_MEMBER F at(At at, int64_t n) const {
    F g, d;
    in.at(at, n, g, d);
    if (d_residual) store_some(d_residual + at.element, g, n);
    if (constants) return mul(g, in.a.at(at.lane));
    return fma(g, in.a.at(at.lane), fma(d, p.at(at.lane), q.at(at.lane)));
  }

  INLINE_MEMBER void ordinary(At p, int64_t n) const { store_some(dx + p.element, at(p, n), n); }

  INLINE_MEMBER void ask(At p) const {
    prefetch(in.x + ahead + p.element);
    prefetch(in.dy + ahead + p.element);
    prefetch_to_write(dx + ahead + p.element);
  }

  INLINE_MEMBER void streamed(At p) const {
    prefetch(in.x + ahead + p.element);
    prefetch(in.dy + ahead + p.element);
    stream_line(*this, dx, p);
  }

  int64_t head(At p, int64_t n) const {
    const int64_t h = to_boundary(dx + p.element);
    return h < n && (!in.is_kept() || h % 8 == 0) ? h : -1;
  }
};

// The ends of runs, out of line: they are a small part of the work and would be most of the code.
template <class Out>
__attribute__((noinline)) void write_end(const Out& out, const At& from, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    out.ordinary(from.plus(i), n - i < kLanes ? n - i : kLanes);
  }
}

// Writes n elements of a run, past the caches where that is wanted and the address allows it.
template <class Out>
INLINE void write(const Out& out, int64_t n, bool streams) {
  // A copy whose address nobody has stays in registers.
  const Out o = out;
  const At from = {};
  int64_t i = 0;
  const int64_t head = streams ? o.head(from, n) : -1;
  if (head >= 0) {
    constexpr int64_t kStep = kLine<typename Out::Type>;
    if (head > 0) write_end(out, from, head);
    for (i = head; i + kStep <= n; i += kStep) o.streamed(from.plus(i));
  } else {
    for (; i + kLanes <= n; i += kLanes) {
      if (o.ahead != 0) o.ask(from.plus(i));
      o.ordinary(from.plus(i), kLanes);
    }
  }
  if (i < n) write_end(out, from.plus(i), n - i);
}

// What moments add up over a run: u = w = x - k.
template <class T, class C>
struct MomentTerms {
  const T* x;
  C k;

  INLINE_MEMBER void at(At p, int64_t n, F& u, F& w) const {
    u = sub(load_some(x + p.element, n), k.at(p.lane));
    if (n != kLanes) u = first(u, n);
    w = u;
  }
};

// What gradient sums add up: u = g, w = x - c.
template <class T, Gate kGate, class C>
struct GradientTerms {
  Gated<T, kGate, C> in;

  INLINE_MEMBER void at(At p, int64_t n, F& u, F& w) const {
    in.at(p, n, u, w);
    if (n != kLanes) w = first(w, n);
  }
};

// Below this, a sum of squares may have lost what underflowed.
constexpr double kTiny = 1e-30;
constexpr double kMostFloat = 3.4028234663852886e38;

// Whether F32 sums of shifted values tell an M2 that they are part of: not when the shift was far
// from the mean for the spread of all that it is of, and not when squares over- or underflowed.
INLINE bool is_exact(double sum, double sum2, double m2) {
  const bool constant = (sum == 0) & (sum2 == 0);
  return constant | ((m2 >= 0.25 * sum2) & (sum2 >= kTiny) & (sum2 <= kMostFloat));
}

INLINE bool is_finite(double v) { return __builtin_fabs(v) <= kMostFloat; }

// Whether an F32 sum has to be taken again in double; not where what it joins is NaN already.
INLINE bool is_lost(double sum, double total) { return !is_finite(sum) && total == total; }

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
