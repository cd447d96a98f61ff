// Where a channel lies in planes (inner > 1): each by blocks, which are rectangles of up to kBlock
// values: some planes, some columns. A fused call is a pipeline: while one group of channels is
// written from the cache, the next is read from memory for its sums.

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

// What is written beside sums that stand alone.
struct Nothing {
  INLINE_MEMBER void ordinary(int64_t, int64_t) const {}
  INLINE_MEMBER void streamed(int64_t) const {}
  int64_t head(int64_t) const { return 0; }
};

template <bool kStreamed, class Out>
INLINE void write_unit(const Out& out, int64_t i) {
  if (kStreamed) {
    out.streamed(i);
  } else {
    out.ordinary(i, kLanes);
  }
}

// Adds up runs in lock step, and beside each writes a run of the same length that lies in a cache:
// so memory is read while memory is written. The order of the sums is the same with any `out`.
template <bool kStreamed, class Terms, class Out>
INLINE void add_runs(const Terms* run, const Out* out, int64_t runs, int64_t n, Sums& to) {
  constexpr int64_t kStep = 4 * kLanes;
  Sums s = to;
  int64_t head[kStreams];
#pragma GCC unroll 1
  for (int64_t g = 0; g < runs; ++g) {
    head[g] = kStreamed ? out[g].head(n) : 0;
    write_head(out[g], head[g]);
  }
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
#pragma GCC unroll 1
    for (int64_t g = 0; g < runs; ++g) {
      const int64_t o = head[g] + i;
      const bool writes = o + kStep <= n;
      add_unit(run[g], i, kLanes, s, 0);
      if (writes) write_unit<kStreamed>(out[g], o);
      add_unit(run[g], i + kLanes, kLanes, s, 1);
      if (writes) write_unit<kStreamed>(out[g], o + kLanes);
      add_unit(run[g], i + 2 * kLanes, kLanes, s, 2);
      if (writes) write_unit<kStreamed>(out[g], o + 2 * kLanes);
      add_unit(run[g], i + 3 * kLanes, kLanes, s, 3);
      if (writes) write_unit<kStreamed>(out[g], o + 3 * kLanes);
    }
  }
  const int64_t rest = n - i;
#pragma GCC unroll 1
  for (int64_t g = 0; g < runs; ++g) {
    if (rest >= kLanes) add_unit(run[g], i, kLanes, s, 0);
    if (rest >= 2 * kLanes) add_unit(run[g], i + kLanes, kLanes, s, 1);
    if (rest >= 3 * kLanes) add_unit(run[g], i + 2 * kLanes, kLanes, s, 2);
    if (rest % kLanes) add_unit(run[g], n - rest % kLanes, rest % kLanes, s, 3);
    int64_t o = head[g] + (n - head[g]) / kStep * kStep;
    for (; o + kLanes <= n; o += kLanes) write_unit<kStreamed>(out[g], o);
    if (o < n) write_end(out[g], o, n - o);
  }
  to = s;
}

template <class Terms, class Out>
INLINE void add_runs(const Terms* run, const Out* out, int64_t runs, int64_t n, bool streams,
                     Sums& to) {
  for (int64_t g = 0; g < runs; ++g) streams &= out[g].head(n) >= 0;
  if (streams) {
    add_runs<true>(run, out, runs, n, to);
  } else {
    add_runs<false>(run, out, runs, n, to);
  }
}

// A rectangle of one channel's values.
struct Block {
  int64_t outer, planes, inner, columns;

  double count() const { return (double)(planes * columns); }
};

// The blocks of some channels, one channel after another within the same planes, so that what is
// read is one run of memory; in each channel in an order that depends on the range alone.
template <class Visit>
INLINE void each_block(const Range& r, int64_t channels, Visit visit) {
  const int64_t width = r.inner_to - r.inner_from;
  const int64_t most_columns = kBlock / kStreams;
  const int64_t fitting = width >= most_columns ? kStreams : kBlock / width;
  const int64_t planes = fitting < kMostPlanes ? fitting : kMostPlanes;
  for (int64_t o = r.outer_from; o < r.outer_to; o += planes) {
    const int64_t got = r.outer_to - o < planes ? r.outer_to - o : planes;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = r.inner_from; i < r.inner_to; i += most_columns) {
        const int64_t n = r.inner_to - i < most_columns ? r.inner_to - i : most_columns;
        visit(c, Block{o, got, i, n});
      }
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

// The sums over a block, of what terms(outer) gives for its part of a plane, while what out(outer)
// gives is written.
template <class MakeTerms, class MakeOut>
INLINE Sums add_block(const Block& b, bool streams, MakeTerms terms, MakeOut out) {
  Sums s = {};
  for (int64_t j = 0; j < b.planes; j += kStreams) {
    const int64_t got = b.planes - j < kStreams ? b.planes - j : kStreams;
    const auto at = [&](int64_t k) { return b.outer + j + (k < got ? k : got - 1); };
    const decltype(terms(b.outer)) runs[kStreams] = {terms(at(0)), terms(at(1)), terms(at(2)),
                                                     terms(at(3))};
    const decltype(out(b.outer)) outs[kStreams] = {out(at(0)), out(at(1)), out(at(2)), out(at(3))};
    add_runs(runs, outs, got, b.columns, streams, s);
  }
  return s;
}

template <class MakeTerms>
INLINE Sums add_block(const Block& b, MakeTerms terms) {
  return add_block(b, false, terms, [](int64_t) { return Nothing(); });
}

template <class MakeOut>
INLINE void write_block(const Block& b, bool streams, MakeOut out) {
  for (int64_t j = 0; j < b.planes; ++j) write(out(b.outer + j), b.columns, streams);
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

// Mean and M2 of a channel as they grow block by block.
struct GrowingMoments {
  Moments all;
  double before;
  float k;
};

template <class T>
INLINE void merge_block(const Channel<T>& c, const Block& b, const Sums& s, GrowingMoments& m) {
  const double n = b.count(), total = s.total(), total2 = s.total2();
  Moments block = {m.k + total / n, total2 - total * total / n};
  if (!is_exact(total, total2, block.m2) && m.all.mean == m.all.mean) block = block_in_double(c, b);
  m.all.join(block.mean, block.m2, n / (m.before + n), m.before);
  m.before += n;
  m.k = (float)m.all.mean;
}

// A channel's part of a plane, from an inner index on.
template <class T, Gate kGate>
INLINE Normalize<T, kGate, Same> normalized(const Channel<T>& c, int64_t outer, int64_t i) {
  const Call& call = c.call;
  const int64_t e = c.element(outer, i);
  return {c.x(outer, i),
          at_or_null((const T*)call.residual, e),
          (T*)call.y + e,
          c.gate(outer, i),
          Same(call.center[c.channel]),
          Same(call.scale[c.channel]),
          Same(call.shift[c.channel])};
}

template <class T, Gate kGate>
INLINE Gated<T, kGate, Same> gated(const Channel<T>& c, int64_t outer, int64_t i) {
  const Call& call = c.call;
  return {c.x(outer, i),
          (const T*)call.dy + c.element(outer, i),
          c.gate(outer, i),
          Same(call.center[c.channel]),
          Same(call.scale[c.channel]),
          Same(call.shift[c.channel])};
}

template <class T, Gate kGate>
INLINE InputGradient<T, kGate, Same> differentiated(const Channel<T>& c, int64_t outer, int64_t i) {
  const Call& call = c.call;
  const int64_t e = c.element(outer, i);
  return {gated<T, kGate>(c, outer, i),       (T*)call.dx + e,
          at_or_null((T*)call.d_residual, e), call.constants != 0,
          Same(call.slope[c.channel]),        Same(call.offset[c.channel])};
}

// Channels that go through the pipeline together.
constexpr int64_t kMostTogether = 8;

// Takes both ranges some channels at a time: visit(done, next), either of which may be empty. They
// cover the same planes.
template <class Visit>
INLINE void each_together(const Range& done, const Range& next, Visit visit) {
  Range d = done, n = next;
  while (d.channel_from < done.channel_to || n.channel_from < next.channel_to) {
    d.channel_to = d.channel_from + kMostTogether;
    n.channel_to = n.channel_from + kMostTogether;
    if (d.channel_to > done.channel_to) d.channel_to = done.channel_to;
    if (n.channel_to > next.channel_to) n.channel_to = next.channel_to;
    visit(d, n);
    d.channel_from = d.channel_to;
    n.channel_from = n.channel_to;
  }
}

// Normalizes the channels of `done`, which lie in a cache, while those of `next` are read for their
// moments.
template <class T, Gate kGate>
void plane_normalize_and_moments(const Call& call, const Range& done, const Range& next) {
  each_together(done, next, [&](const Range& d, const Range& n) {
    const int64_t writes = d.channel_to - d.channel_from, reads = n.channel_to - n.channel_from;
    GrowingMoments m[kMostTogether];
    for (int64_t j = 0; j < reads; ++j) {
      m[j] = {{}, 0, first_shift(Channel<T>{call, n.channel_from + j}, n)};
    }
    each_block(n, writes > reads ? writes : reads, [&](int64_t j, const Block& b) {
      const Channel<T> cd{call, d.channel_from + j}, cn{call, n.channel_from + j};
      const auto out = [&](int64_t outer) { return normalized<T, kGate>(cd, outer, b.inner); };
      if (j >= reads) return write_block(b, call.streams, out);
      const auto terms = [&](int64_t outer) {
        return MomentTerms<T, Same>{cn.x(outer, b.inner), Same(m[j].k)};
      };
      merge_block(cn, b, j < writes ? add_block(b, call.streams, terms, out) : add_block(b, terms),
                  m[j]);
    });
    for (int64_t j = 0; j < reads; ++j) {
      call.part[n.slot + n.channel_from + j] = m[j].all.mean;
      call.part2[n.slot + n.channel_from + j] = m[j].all.m2;
    }
  });
}

// No channels of the planes of a range.
INLINE Range none_of(const Range& r) {
  Range none = r;
  none.channel_to = none.channel_from;
  return none;
}

template <class T>
void plane_moments(const Call& call, const Range& r) {
  plane_normalize_and_moments<T, Gate::kNone>(call, none_of(r), r);
}

template <class T, Gate kGate>
void plane_normalize(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      write(normalized<T, kGate>(Channel<T>{call, ch}, o, r.inner_from), r.inner_to - r.inner_from,
            call.streams);
    }
  }
}

// Computes the gradients of the channels of `done`, while those of `next` are read for their sums.
template <class T, Gate kGate>
void plane_input_gradient_and_sums(const Call& call, const Range& done, const Range& next) {
  each_together(done, next, [&](const Range& d, const Range& n) {
    const int64_t writes = d.channel_to - d.channel_from, reads = n.channel_to - n.channel_from;
    double total[kMostTogether] = {}, total2[kMostTogether] = {};
    each_block(n, writes > reads ? writes : reads, [&](int64_t j, const Block& b) {
      const Channel<T> cd{call, d.channel_from + j}, cn{call, n.channel_from + j};
      const auto out = [&](int64_t outer) { return differentiated<T, kGate>(cd, outer, b.inner); };
      if (j >= reads) return write_block(b, call.streams, out);
      const auto terms = [&](int64_t outer) {
        return GradientTerms<T, kGate, Same>{gated<T, kGate>(cn, outer, b.inner)};
      };
      const Sums s = j < writes ? add_block(b, call.streams, terms, out) : add_block(b, terms);
      double g = s.total(), gd = s.total2();
      if (!is_finite(g) || !is_finite(gd)) {
        g = gd = 0;
        for (int64_t k = 0; k < b.planes; ++k) {
          const auto in = gated<T, kGate>(cn, b.outer + k, b.inner);
          for (int64_t i = 0; i < b.columns; ++i) add_in_double(in, i, g, gd);
        }
      }
      total[j] += g;
      total2[j] += gd;
    });
    for (int64_t j = 0; j < reads; ++j) {
      call.part[n.slot + n.channel_from + j] = total[j];
      call.part2[n.slot + n.channel_from + j] = total2[j];
    }
  });
}

template <class T, Gate kGate>
void plane_gradient_sums(const Call& call, const Range& r) {
  plane_input_gradient_and_sums<T, kGate>(call, none_of(r), r);
}

template <class T, Gate kGate>
void plane_input_gradient(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      write(differentiated<T, kGate>(Channel<T>{call, ch}, o, r.inner_from),
            r.inner_to - r.inner_from, call.streams);
    }
  }
}

}  // namespace
