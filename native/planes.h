// Where a channel lies in planes (inner > 1): one channel after another, each by blocks, which are
// rectangles of up to kBlock values: some planes, some columns.

#pragma once

#include "runs.h"

namespace {

// Values whose F32 sums are taken before they are merged in double.
constexpr int64_t kBlock = 8192;

// Planes of a block: the end of each goes into the same few lanes.
constexpr int64_t kMostPlanes = 128;

// Planes that are read in lock step: one alone leaves the prefetchers of the caches half idle.
constexpr int64_t kStreams = 4;

struct Sums {
  F u[4], uw[4];

  double total() const { return sum(add(add(u[0], u[1]), add(u[2], u[3]))); }
  double total2() const { return sum(add(add(uw[0], uw[1]), add(uw[2], uw[3]))); }
};

template <class Terms>
INLINE void add_unit(const Terms& t, int64_t i, int64_t n, Sums& s, int k) {
  F u, w;
  t.at(i, n, u, w);
  s.u[k] = add(s.u[k], u);
  s.uw[k] = fma(u, w, s.uw[k]);
}

template <class Terms>
INLINE void add_runs(const Terms* run, int64_t runs, int64_t n, Sums& to) {
  Sums s = to;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 1
    for (int64_t g = 0; g < runs; ++g) {
      add_unit(run[g], i, kLanes, s, 0);
      add_unit(run[g], i + kLanes, kLanes, s, 1);
      add_unit(run[g], i + 2 * kLanes, kLanes, s, 2);
      add_unit(run[g], i + 3 * kLanes, kLanes, s, 3);
    }
  }
  const int64_t rest = n - i;
#pragma GCC unroll 1
  for (int64_t g = 0; g < runs; ++g) {
    if (rest >= kLanes) add_unit(run[g], i, kLanes, s, 0);
    if (rest >= 2 * kLanes) add_unit(run[g], i + kLanes, kLanes, s, 1);
    if (rest >= 3 * kLanes) add_unit(run[g], i + 2 * kLanes, kLanes, s, 2);
    if (rest % kLanes) add_unit(run[g], n - rest % kLanes, rest % kLanes, s, 3);
  }
  to = s;
}

// A rectangle of one channel's values.
struct Block {
  int64_t outer, planes, inner, columns;

  double count() const { return (double)(planes * columns); }
};

// The blocks of a range one after another, in an order that depends on the range alone.
template <class Visit>
INLINE void each_block(const Range& r, Visit visit) {
  const int64_t width = r.inner_to - r.inner_from;
  const int64_t most_columns = kBlock / kStreams;
  const int64_t fitting = width >= most_columns ? kStreams : kBlock / width;
  const int64_t planes = fitting < kMostPlanes ? fitting : kMostPlanes;
  for (int64_t o = r.outer_from; o < r.outer_to; o += planes) {
    const int64_t got = r.outer_to - o < planes ? r.outer_to - o : planes;
    for (int64_t i = r.inner_from; i < r.inner_to; i += most_columns) {
      const int64_t n = r.inner_to - i < most_columns ? r.inner_to - i : most_columns;
      visit(Block{o, got, i, n});
    }
  }
}

// One channel of a call.
template <class T>
struct Channel {
  const Call& call;
  int64_t channel;

  int64_t plane(int64_t outer) const { return outer * call.channels + channel; }
  int64_t element(int64_t outer, int64_t i) const { return plane(outer) * call.inner + i; }
  uint8_t* gate(int64_t outer, int64_t i) const {
    return call.gate ? call.gate + plane(outer) * call.gate_stride + i / 8 : nullptr;
  }
  const T* x(int64_t outer, int64_t i) const { return (const T*)call.x + element(outer, i); }
};

// The sums over a block, of what terms(outer) gives for its part of a plane.
template <class MakeTerms>
INLINE Sums add_block(const Block& b, MakeTerms terms) {
  Sums s = {};
  for (int64_t j = 0; j < b.planes; j += kStreams) {
    const int64_t got = b.planes - j < kStreams ? b.planes - j : kStreams;
    const int64_t last = b.outer + j + got - 1;
    const auto at = [&](int64_t k) { return terms(k < got ? b.outer + j + k : last); };
    const decltype(terms(last)) runs[kStreams] = {at(0), at(1), at(2), at(3)};
    add_runs(runs, got, b.columns, s);
  }
  return s;
}

// Mean and M2 of a block in double.
template <class T>
Moments block_in_double(const Channel<T>& c, const Block& b) {
  Moments m = {};
  for (int64_t j = 0; j < b.planes; ++j) {
    const T* x = c.x(b.outer + j, b.inner);
    for (int64_t i = 0; i < b.columns; ++i) m.mean += value(x + i);
  }
  m.mean /= b.count();
  for (int64_t j = 0; j < b.planes; ++j) {
    const T* x = c.x(b.outer + j, b.inner);
    for (int64_t i = 0; i < b.columns; ++i) {
      const double d = value(x + i) - m.mean;
      m.m2 += d * d;
    }
  }
  return m;
}

// The mean of the first few values, of several planes where they are tiny: near enough for a shift.
template <class T>
INLINE float first_shift(const Channel<T>& c, const Range& r) {
  const int64_t width = r.inner_to - r.inner_from;
  F s = set(0);
  int64_t n = 0;
  for (int64_t o = r.outer_from; o < r.outer_to && n < 4 * kLanes; ++o) {
    const T* x = c.x(o, r.inner_from);
    int64_t i = 0;
    for (; i < 8 * kLanes && i + kLanes <= width; i += kLanes) s = add(s, load(x + i));
    if (i == 0) {
      s = add(s, load(x, width));
      i = width;
    }
    n += i;
  }
  return (float)(sum(s) / (double)n);
}

template <class T>
void plane_moments(const Call& call, const Range& r) {
  for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
    const Channel<T> c{call, ch};
    Moments all = {};
    double before = 0;
    float k = first_shift(c, r);
    each_block(r, [&](const Block& b) {
      const Sums s = add_block(b, [&](int64_t outer) {
        return MomentTerms<T, Same>{c.x(outer, b.inner), Same(k)};
      });
      const double n = b.count(), total = s.total(), total2 = s.total2();
      Moments m = {k + total / n, total2 - total * total / n};
      if (!is_exact(total, total2, m.m2) && all.mean == all.mean) m = block_in_double(c, b);
      all.join(m.mean, m.m2, n / (before + n), before);
      before += n;
      k = (float)all.mean;
    });
    call.part[r.slot + ch] = all.mean;
    call.part2[r.slot + ch] = all.m2;
  }
}

template <class T, Gate kGate>
void plane_normalize(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      const Channel<T> c{call, ch};
      const int64_t e = c.element(o, r.inner_from);
      write(
          Normalize<T, kGate, Same>{c.x(o, r.inner_from), at_or_null((const T*)call.residual, e),
                                    (T*)call.y + e, c.gate(o, r.inner_from), Same(call.center[ch]),
                                    Same(call.scale[ch]), Same(call.shift[ch])},
          r.inner_to - r.inner_from, call.streams);
    }
  }
}

template <class T, Gate kGate>
INLINE Gated<T, kGate, Same> gated_plane(const Channel<T>& c, int64_t outer, int64_t i) {
  const Call& call = c.call;
  return {c.x(outer, i),
          (const T*)call.dy + c.element(outer, i),
          c.gate(outer, i),
          Same(call.center[c.channel]),
          Same(call.scale[c.channel]),
          Same(call.shift[c.channel])};
}

template <class T, Gate kGate>
void plane_gradient_sums(const Call& call, const Range& r) {
  for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
    const Channel<T> c{call, ch};
    double total = 0, total2 = 0;
    each_block(r, [&](const Block& b) {
      const Sums s = add_block(b, [&](int64_t outer) {
        return GradientTerms<T, kGate, Same>{gated_plane<T, kGate>(c, outer, b.inner)};
      });
      double g = s.total(), gd = s.total2();
      if (!is_finite(g) || !is_finite(gd)) {
        g = gd = 0;
        for (int64_t j = 0; j < b.planes; ++j) {
          const auto in = gated_plane<T, kGate>(c, b.outer + j, b.inner);
          for (int64_t i = 0; i < b.columns; ++i) add_in_double(in, i, g, gd);
        }
      }
      total += g;
      total2 += gd;
    });
    call.part[r.slot + ch] = total;
    call.part2[r.slot + ch] = total2;
  }
}

template <class T, Gate kGate>
void plane_input_gradient(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      const Channel<T> c{call, ch};
      const int64_t e = c.element(o, r.inner_from);
      write(
          InputGradient<T, kGate, Same>{gated_plane<T, kGate>(c, o, r.inner_from), (T*)call.dx + e,
                                        at_or_null((T*)call.d_residual, e), call.constants != 0,
                                        Same(call.slope[ch]), Same(call.offset[ch])},
          r.inner_to - r.inner_from, call.streams);
    }
  }
}

}  // namespace
