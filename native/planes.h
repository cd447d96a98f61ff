// Where a channel lies in planes (inner > 1): each by blocks, which are rectangles of up to kBlock
// values: some planes, some columns. A fused forward may be a pipeline: while one group of channels
// is written from the cache, the next comes from memory for its moments.

#pragma once

#include "runs.h"

namespace {

// Values whose F32 sums are taken before they are merged in double.
constexpr int64_t kBlock = 8192;

// Planes of a block: the end of each goes into the same few lanes.
constexpr int64_t kMostPlanes = 128;

// Planes that are read in lock step: one alone leaves the prefetchers of the caches half idle.
constexpr int kStreams = 4;

// Bytes of each of them that are read at a time where others are written: so few that what is asked
// for while those are written stays in the first-level cache.
constexpr int64_t kChunkBytes = 1024;

// Where planes that follow each other are written alone past the caches, what is read is asked for
// so far ahead.
constexpr int64_t kAheadBytes = 1024;

struct Sums {
  F u[4], uw[4];

  double total() const { return sum(add(add(u[0], u[1]), add(u[2], u[3]))); }
  double total2() const { return sum(add(add(uw[0], uw[1]), add(uw[2], uw[3]))); }
};

template <class Terms>
INLINE void add_unit(const Terms& t, At p, int64_t n, Sums& s, int k) {
  F u, w;
  t.at(p, n, u, w);
  s.u[k] = add(s.u[k], u);
  s.uw[k] = fma(u, w, s.uw[k]);
}

// Runs of n elements, from one to the next so many elements and bytes of gate bits.
struct Runs {
  int64_t first, n, apart, bits_apart;

  INLINE_MEMBER At at(int64_t run, int64_t i) const {
    return {(first + run) * apart + i, i, (first + run) * bits_apart + i / 8};
  }
};

// Adds up runs in lock step: each of the sums over all runs, so that it stays in a register. Before
// so many elements are read, before(first run, runs, from, to) is told.
template <int kRuns, int64_t kChunk, class Terms, class Before>
INLINE void add_runs(const Terms& terms, const Before& before, const Runs& r, Sums& to) {
  constexpr int64_t kStep = 4 * kLanes;
  Sums s = to;
  int64_t i = 0;
  while (i + kStep <= r.n) {
    const int64_t end = r.n - i < kChunk + kStep ? r.n : i + kChunk;
    before(r.first, kRuns, i, end);
    for (; i + kStep <= end; i += kStep) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
#pragma GCC unroll 4
        for (int g = 0; g < kRuns; ++g) add_unit(terms, r.at(g, i + k * kLanes), kLanes, s, k);
      }
    }
  }
  if (i == 0) before(r.first, kRuns, 0, r.n);
  for (int g = 0; g < kRuns; ++g) {
    int64_t rest = i;
    for (; rest + kLanes <= r.n; rest += kLanes) add_unit(terms, r.at(g, rest), kLanes, s, 0);
    if (rest < r.n) add_unit(terms, r.at(g, rest), r.n - rest, s, 3);
  }
  to = s;
}

// A rectangle of one channel's values.
struct Block {
  int64_t outer, planes, inner, columns;

  double count() const { return (double)(planes * columns); }
};

// Channels whose blocks are taken together.
constexpr int64_t kMostTogether = 8;

// Visits the blocks of some channels, in each of them in an order that depends on the range alone:
// add(channel, part, sums) for parts of up to kStreams planes, then merge(channel, block, sums).
// Parts of neighbouring channels follow each other, so that what is read is one run of memory.
template <class Add, class Merge>
INLINE void each_block(const Range& r, int64_t channels, Add add, Merge merge) {
  constexpr int64_t kMostColumns = kBlock / kStreams;
  const int64_t width = r.inner_to - r.inner_from;
  const int64_t fitting = width < kMostColumns ? kBlock / width / kStreams * kStreams : kStreams;
  const int64_t planes = fitting < kMostPlanes ? fitting : kMostPlanes;
  for (int64_t o = r.outer_from; o < r.outer_to; o += planes) {
    const int64_t got = r.outer_to - o < planes ? r.outer_to - o : planes;
    if (width <= kMostColumns) {
      Sums s[kMostTogether] = {};
      for (int64_t j = 0; j < got; j += kStreams) {
        const int64_t part = got - j < kStreams ? got - j : kStreams;
        for (int64_t c = 0; c < channels; ++c)
          add(c, Block{o + j, part, r.inner_from, width}, s[c]);
      }
      for (int64_t c = 0; c < channels; ++c) merge(c, Block{o, got, r.inner_from, width}, s[c]);
      continue;
    }
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t i = r.inner_from; i < r.inner_to; i += kMostColumns) {
        const int64_t n = r.inner_to - i < kMostColumns ? r.inner_to - i : kMostColumns;
        const Block b = {o, got, i, n};
        Sums s = {};
        add(c, b, s);
        merge(c, b, s);
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

// Adds up a part of a block, of what `terms` gives from its first plane on.
template <int64_t kChunk, class Terms, class Before>
INLINE void add_part(const Call& call, const Block& b, const Terms& terms, const Before& before,
                     Sums& s) {
  Runs runs = {0, b.columns, call.channels * call.inner, call.channels * call.gate_stride};
  if (b.planes == kStreams) return add_runs<kStreams, kChunk>(terms, before, runs, s);
  // In registers from one plane to the next.
  Sums all = s;
  for (; runs.first < b.planes; ++runs.first) add_runs<1, kChunk>(terms, before, runs, all);
  s = all;
}

// The same with nothing to do before.
template <class Terms>
INLINE void add_part(const Call& call, const Block& b, const Terms& terms, Sums& s) {
  add_part<kBlock>(
      call, b, terms, [](int64_t, int64_t, int64_t, int64_t) {}, s);
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
// Of four lanes the two in the middle, without outliers: they would take all other values far from
// the shift, where each rounds the same way.
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
  if (width < kLanes) return (float)(sum(s) / (double)n);
  return (float)(middle_sum(s) / (double)(n / 2));
}

// Mean and M2 of a channel as they grow block by block.
struct GrowingMoments {
  Moments all;
  double before;
  float k;
};

// Those of a block whose values lie far from the running mean, as those of one image may: from sums
// of x - k, k near to them, or in double where these are not exact either.
template <class T>
__attribute__((noinline)) Moments block_again(const Channel<T>& c, const Block& b, float k) {
  Sums s = {};
  for (int64_t j = 0; j < b.planes; j += kStreams) {
    const int64_t part = b.planes - j < kStreams ? b.planes - j : kStreams;
    const MomentTerms<T, Same> terms = {c.x(b.outer + j, b.inner), Same(k)};
    add_part(c.call, Block{b.outer + j, part, b.inner, b.columns}, terms, s);
  }
  const double n = b.count(), total = s.total(), total2 = s.total2();
  const Moments block = {k + total / n, total2 - total * total / n};
  return is_exact(total, total2, block.m2) ? block : block_in_double(c, b);
}

template <class T>
INLINE void merge_block(const Channel<T>& c, const Block& b, const Sums& s, GrowingMoments& m) {
  const double n = b.count(), total = s.total(), total2 = s.total2();
  const Moments block = {m.k + total / n, total2 - total * total / n};
  const double weight = n / (m.before + n);
  Moments all = m.all;
  all.join(block.mean, block.m2, weight, m.before);
  if (!is_exact(total, total2, all.m2) && m.all.mean == m.all.mean) {
    const Moments again = block_again(c, b, (float)block.mean);
    all = m.all;
    all.join(again.mean, again.m2, weight, m.before);
  }
  m.all = all;
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
          call.relu != 0,
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
          call.relu != 0,
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
// moments. Without the former where none are to be written.
template <class T, Gate kGate, bool kWrites>
void plane_write_and_read(const Call& call, const Range& done, const Range& next) {
  each_together(done, next, [&](const Range& d, const Range& n) {
    const int64_t writes = d.channel_to - d.channel_from, reads = n.channel_to - n.channel_from;
    GrowingMoments m[kMostTogether];
    for (int64_t j = 0; j < reads; ++j) {
      m[j] = {{}, 0, first_shift(Channel<T>{call, n.channel_from + j}, n)};
    }
    const auto add = [&](int64_t j, const Block& b, Sums& s) {
      const Channel<T> cd{call, d.channel_from + j}, cn{call, n.channel_from + j};
      const MomentTerms<T, Same> terms = {cn.x(b.outer, b.inner), Same(j < reads ? m[j].k : 0)};
      if constexpr (!kWrites) {
        add_part(call, b, terms, s);
      } else {
        // Some elements of some planes, while what is read next is asked for.
        const auto write_some = [&](int64_t first, int64_t planes, int64_t from, int64_t to) {
          for (int64_t p = first; j < writes && p < first + planes; ++p) {
            // Whole lines, but for the first and the last one of a plane.
            const int64_t head = to_boundary((const T*)call.y + cd.element(b.outer + p, b.inner));
            const int64_t shift = call.gate ? head & ~7 : head;
            const int64_t begin = from > 0 ? from + shift : 0;
            const int64_t end = to < b.columns ? to + shift : to;
            auto out = normalized<T, kGate>(cd, b.outer + p, b.inner + begin);
            out.ahead = j < reads ? cn.x(0, 0) - cd.x(0, 0) : 0;
            write(out, end - begin, call.streams);
          }
        };
        if (j >= reads) {
          write_some(0, b.planes, 0, b.columns);
        } else {
          add_part<kChunkBytes / sizeof(T)>(call, b, terms, write_some, s);
        }
      }
    };
    each_block(n, writes > reads ? writes : reads, add,
               [&](int64_t j, const Block& b, const Sums& s) {
                 if (j < reads) merge_block(Channel<T>{call, n.channel_from + j}, b, s, m[j]);
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
  plane_write_and_read<T, Gate::kNone, false>(call, none_of(r), r);
}

template <class T, Gate kGate>
void plane_normalize(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      auto out = normalized<T, kGate>(Channel<T>{call, ch}, o, r.inner_from);
      out.ahead = call.streams ? kAheadBytes / sizeof(T) : 0;
      write(out, r.inner_to - r.inner_from, call.streams);
    }
  }
}

// Both verbs at once. One after the other where results stay in the caches, so that no memory is
// written meanwhile, and where it would be much code for old processors.
template <class T, Gate kGate>
void plane_normalize_and_moments(const Call& call, const Range& done, const Range& next) {
  if constexpr (kRegs <= 2) {
    if (call.streams) return plane_write_and_read<T, kGate, true>(call, done, next);
  }
  plane_normalize<T, kGate>(call, done);
  plane_moments<T>(call, next);
}

template <class T, Gate kGate>
void plane_gradient_sums(const Call& call, const Range& r) {
  each_together(none_of(r), r, [&](const Range&, const Range& n) {
    double total[kMostTogether] = {}, total2[kMostTogether] = {};
    const auto add = [&](int64_t j, const Block& b, Sums& s) {
      const Channel<T> c{call, n.channel_from + j};
      const GradientTerms<T, kGate, Same> terms = {gated<T, kGate>(c, b.outer, b.inner)};
      add_part(call, b, terms, s);
    };
    const auto merge = [&](int64_t j, const Block& b, const Sums& s) {
      double g = s.total(), gd = s.total2();
      if (is_lost(g, total[j]) || is_lost(gd, total2[j])) {
        const Channel<T> c{call, n.channel_from + j};
        g = gd = 0;
        for (int64_t k = 0; k < b.planes; ++k) {
          const auto in = gated<T, kGate>(c, b.outer + k, b.inner);
          for (int64_t i = 0; i < b.columns; ++i) add_in_double(in, i, g, gd);
        }
      }
      total[j] += g;
      total2[j] += gd;
    };
    const int64_t channels = n.channel_to - n.channel_from;
    each_block(n, channels, add, merge);
    for (int64_t j = 0; j < channels; ++j) {
      call.part[n.slot + n.channel_from + j] = total[j];
      call.part2[n.slot + n.channel_from + j] = total2[j];
    }
  });
}

template <class T, Gate kGate>
void plane_input_gradient(const Call& call, const Range& r) {
  for (int64_t o = r.outer_from; o < r.outer_to; ++o) {
    for (int64_t ch = r.channel_from; ch < r.channel_to; ++ch) {
      auto out = differentiated<T, kGate>(Channel<T>{call, ch}, o, r.inner_from);
      out.ahead = call.streams ? kAheadBytes / sizeof(T) : 0;
      write(out, r.inner_to - r.inner_from, call.streams);
    }
  }
}

}  // namespace
