// Where channels lie side by side: tiles of equal length follow each other, and each lane of a tile
// has sums of its own, which are folded into channels at the end. A tile is a row, several short
// rows, or the small planes of several channels.

#pragma once

#include "runs.h"

namespace {

using fusednorm::kMostLanes;

// Tiles whose F32 sums are taken before they are merged in double.
constexpr int64_t kBlockTiles = 64;

// Tiles that are read in lock step, far apart from each other.
constexpr int64_t kTileStreams = 4;

struct Tiles {
  int64_t first;   // element of the first
  int64_t stride;  // elements from one to the next
  int64_t count;   // whole tiles
  int64_t lanes;
  int64_t rest;  // lanes of one more tile, or 0
  int64_t channels;
  int64_t channel_step;  // lanes from a channel to the next
  int64_t repeats;       // lanes of a channel
  int64_t repeat_step;   // lanes between them

  int64_t element(int64_t tile) const { return first + tile * stride; }
  int64_t all() const { return count + (rest > 0); }
  int64_t lanes_of(int64_t tile) const { return tile < count ? lanes : rest; }
};

INLINE Tiles tiles_of(const Call& call, const Range& r) {
  const int64_t width = r.channel_to - r.channel_from;
  const int64_t outer = r.outer_to - r.outer_from;
  if (call.inner > 1) {
    const int64_t first = (r.outer_from * call.channels + r.channel_from) * call.inner;
    const int64_t stride = call.channels * call.inner;
    return {first, stride, outer, width * call.inner, 0, width, call.inner, call.inner, 1};
  }
  const int64_t rows = outer < call.rows_per_tile ? outer : call.rows_per_tile;
  const int64_t first = r.outer_from * call.channels + r.channel_from;
  const int64_t stride = rows * call.channels;
  return {first, stride, outer / rows, rows * width, outer % rows * width, width, 1, rows, width};
}

// Whether small planes are taken as lanes of a tile: they would be mostly beginnings and ends.
INLINE bool is_rows(const Call& call, const Range& r) {
  if (call.inner == 1) return true;
  return call.inner < 512 && r.inner_to - r.inner_from == call.inner && !call.gate &&
         (r.channel_to - r.channel_from) * call.inner <= kMostLanes;
}

// The gate of a tile of rows.
INLINE uint8_t* tile_gate(const Call& call, const Range& r, int64_t tile) {
  if (!call.gate) return nullptr;
  const int64_t at = r.outer_from / call.rows_per_tile + tile;
  return call.gate + at * call.gate_stride + r.channel_from / 8;
}

// A number per lane, with room for the last vector.
template <class N>
struct alignas(64) Lanes {
  N v[kMostLanes + kLanes];

  void clear(int64_t n) { memset(v, 0, (n + kLanes) * sizeof(N)); }
};

// The coefficients of a range's channels over the lanes of a tile: as they lie, where that fits.
INLINE const float* over_lanes(const float* channels, const Tiles& t, const Range& r,
                               Lanes<float>& room) {
  const float* from = channels + r.channel_from;
  if (t.repeats == 1) return from;
  if (t.channel_step == 1) {
    for (int64_t j = 0; j < t.repeats; ++j) {
      memcpy(room.v + j * t.repeat_step, from, t.channels * sizeof(float));
    }
  } else {
    for (int64_t c = 0; c < t.channels; ++c) {
      for (int64_t j = 0; j < t.repeats; ++j) room.v[c * t.channel_step + j] = from[c];
    }
  }
  return room.v;
}

template <int kRuns, class Terms>
INLINE void add_lanes(const Terms* run, int64_t n, float* u_sum, float* uw_sum) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t m = n - i < kLanes ? n - i : kLanes;
    F s = load(u_sum + i), s2 = load(uw_sum + i);
    for (int g = 0; g < kRuns; ++g) {
      F u, w;
      if (m == kLanes) {
        run[g].at(i, kLanes, u, w);
      } else {
        run[g].at(i, m, u, w);
      }
      s = add(s, u);
      s2 = fma(u, w, s2);
    }
    store(u_sum + i, s);
    store(uw_sum + i, s2);
  }
}

// Adds up whole tiles from one on, of what terms(tile) gives.
template <class MakeTerms>
INLINE void add_tiles(int64_t from, int64_t got, int64_t lanes, float* u_sum, float* uw_sum,
                      MakeTerms terms) {
  const int64_t apart = got / kTileStreams;
  for (int64_t j = from; j < from + apart; ++j) {
    const decltype(terms(j)) runs[kTileStreams] = {terms(j), terms(j + apart), terms(j + 2 * apart),
                                                   terms(j + 3 * apart)};
    add_lanes<kTileStreams>(runs, lanes, u_sum, uw_sum);
  }
  for (int64_t j = from + kTileStreams * apart; j < from + got; ++j) {
    const auto run = terms(j);
    add_lanes<1>(&run, lanes, u_sum, uw_sum);
  }
}

// Mean and M2 in each lane, as they grow block by block.
struct LaneMoments {
  Lanes<float> k, sum, sum2;
  Lanes<double> mean, m2;
};

// Mean and M2 in double of one lane in a block.
template <class T>
Moments lane_in_double(const T* x, int64_t stride, int64_t got) {
  Moments m = {};
  for (int64_t j = 0; j < got; ++j) m.mean += value(x + j * stride);
  m.mean /= (double)got;
  for (int64_t j = 0; j < got; ++j) {
    const double d = value(x + j * stride) - m.mean;
    m.m2 += d * d;
  }
  return m;
}

// Takes the F32 sums of a block of tiles into mean and M2; x is the first of them.
template <class T>
void merge_block(LaneMoments& s, const T* x, int64_t stride, int64_t got, int64_t before,
                 int64_t lanes) {
  const double per = 1.0 / (double)got;
  const double weight = (double)got / (double)(before + got);
  int inexact = got == 1;
  for (int64_t i = 0; i < lanes; ++i) {
    const double sum = s.sum.v[i], sum2 = s.sum2.v[i];
    inexact |= !is_exact(sum, sum2, sum2 - sum * sum * per);
  }
  for (int64_t i = 0; i < lanes; ++i) {
    const double sum = s.sum.v[i], sum2 = s.sum2.v[i];
    Moments block = {s.k.v[i] + sum * per, sum2 - sum * sum * per};
    Moments all = {s.mean.v[i], s.m2.v[i]};
    if (inexact && !is_exact(sum, sum2, block.m2) && all.mean == all.mean) {
      block = lane_in_double(x + i, stride, got);
    }
    all.join(block.mean, block.m2, weight, (double)before);
    s.mean.v[i] = all.mean;
    s.m2.v[i] = all.m2;
    s.k.v[i] = (float)all.mean;
  }
}

// Merges the lanes of each channel; the first `rest` lanes have seen one tile more.
INLINE void fold(const LaneMoments& s, const Tiles& t, double* mean, double* m2) {
  for (int64_t c = 0; c < t.channels; ++c) {
    mean[c] = s.mean.v[c * t.channel_step];
    m2[c] = s.m2.v[c * t.channel_step];
  }
  double before = (double)t.all();
  for (int64_t j = 1; j < t.repeats; ++j) {
    const int64_t lane = j * t.repeat_step;
    const double n = (double)(t.count + (lane < t.rest));
    const double weight = n / (before + n);
    for (int64_t c = 0; c < t.channels; ++c) {
      Moments all = {mean[c], m2[c]};
      all.join(s.mean.v[lane + c * t.channel_step], s.m2.v[lane + c * t.channel_step], weight,
               before);
      mean[c] = all.mean;
      m2[c] = all.m2;
    }
    before += n;
  }
}

template <class T>
void row_moments(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  const T* x = (const T*)call.x;
  LaneMoments s;
  s.mean.clear(t.lanes);
  s.m2.clear(t.lanes);
  // A first shift from a few tiles; dividing rounds no worse than the values themselves.
  const int64_t few = t.count < 4 ? t.count : 4;
  s.k.clear(t.lanes);
  for (int64_t j = 0; j < few; ++j) {
    for (int64_t i = 0; i < t.lanes; i += kLanes) {
      const F v = load_some(x + t.element(j) + i, t.lanes - i < kLanes ? t.lanes - i : kLanes);
      store(s.k.v + i, add(load(s.k.v + i), v));
    }
  }
  for (int64_t i = 0; i < t.lanes; ++i) s.k.v[i] /= (float)few;
  const auto terms = [&](int64_t tile) {
    return MomentTerms<T, PerLane>{x + t.element(tile), PerLane(s.k.v)};
  };
  for (int64_t from = 0; from < t.count; from += kBlockTiles) {
    const int64_t got = t.count - from < kBlockTiles ? t.count - from : kBlockTiles;
    s.sum.clear(t.lanes);
    s.sum2.clear(t.lanes);
    add_tiles(from, got, t.lanes, s.sum.v, s.sum2.v, terms);
    merge_block(s, x + t.element(from), t.stride, got, from, t.lanes);
  }
  if (t.rest > 0) {
    s.sum.clear(t.rest);
    s.sum2.clear(t.rest);
    add_tiles(t.count, 1, t.rest, s.sum.v, s.sum2.v, terms);
    merge_block(s, x + t.element(t.count), t.stride, 1, t.count, t.rest);
  }
  fold(s, t, call.part + r.slot + r.channel_from, call.part2 + r.slot + r.channel_from);
}

template <class T, Gate kGate>
void row_normalize(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  Lanes<float> c, a, b;
  const PerLane center(over_lanes(call.center, t, r, c));
  const PerLane scale(over_lanes(call.scale, t, r, a));
  const PerLane shift(over_lanes(call.shift, t, r, b));
  for (int64_t j = 0; j < t.all(); ++j) {
    const int64_t e = t.element(j);
    write(Normalize<T, kGate, PerLane>{(const T*)call.x + e, at_or_null((const T*)call.residual, e),
                                       (T*)call.y + e, tile_gate(call, r, j), center, scale, shift},
          t.lanes_of(j), call.streams);
  }
}

template <class T, Gate kGate>
void row_gradient_sums(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  Lanes<float> c, a, b, sum, sum2;
  Lanes<double> total, total2;
  const PerLane center(over_lanes(call.center, t, r, c));
  const PerLane scale(over_lanes(call.scale, t, r, a));
  const PerLane shift(over_lanes(call.shift, t, r, b));
  const auto in = [&](int64_t tile) {
    const int64_t e = t.element(tile);
    return Gated<T, kGate, PerLane>{(const T*)call.x + e,
                                    (const T*)call.dy + e,
                                    tile_gate(call, r, tile),
                                    center,
                                    scale,
                                    shift};
  };
  const auto terms = [&](int64_t tile) { return GradientTerms<T, kGate, PerLane>{in(tile)}; };
  total.clear(t.lanes);
  total2.clear(t.lanes);
  for (int64_t from = 0; from < t.all();) {
    const bool whole = from < t.count;
    const int64_t lanes = t.lanes_of(from);
    const int64_t left = whole ? t.count - from : 1;
    const int64_t got = left < kBlockTiles ? left : kBlockTiles;
    sum.clear(lanes);
    sum2.clear(lanes);
    add_tiles(from, got, lanes, sum.v, sum2.v, terms);
    int infinite = 0;
    for (int64_t i = 0; i < lanes; ++i) infinite |= !(is_finite(sum.v[i]) && is_finite(sum2.v[i]));
    for (int64_t i = 0; i < lanes; ++i) {
      // Lane by lane, so that a NaN changes no bit of another channel.
      double g = sum.v[i], gd = sum2.v[i];
      if (infinite && !(is_finite(g) && is_finite(gd))) {
        g = gd = 0;
        for (int64_t j = from; j < from + got; ++j) add_in_double(in(j), i, g, gd);
      }
      total.v[i] += g;
      total2.v[i] += gd;
    }
    from += got;
  }
  double* part = call.part + r.slot + r.channel_from;
  double* part2 = call.part2 + r.slot + r.channel_from;
  memset(part, 0, t.channels * sizeof *part);
  memset(part2, 0, t.channels * sizeof *part2);
  for (int64_t j = 0; j < t.repeats; ++j) {
    for (int64_t ch = 0; ch < t.channels; ++ch) {
      part[ch] += total.v[ch * t.channel_step + j * t.repeat_step];
      part2[ch] += total2.v[ch * t.channel_step + j * t.repeat_step];
    }
  }
}

template <class T, Gate kGate>
void row_input_gradient(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  Lanes<float> c, a, b, p, q;
  const PerLane center(over_lanes(call.center, t, r, c));
  const PerLane scale(over_lanes(call.scale, t, r, a));
  const PerLane shift(over_lanes(call.shift, t, r, b));
  const PerLane slope(over_lanes(call.slope, t, r, p));
  const PerLane offset(over_lanes(call.offset, t, r, q));
  for (int64_t j = 0; j < t.all(); ++j) {
    const int64_t e = t.element(j);
    write(InputGradient<T, kGate, PerLane>{{(const T*)call.x + e, (const T*)call.dy + e,
                                            tile_gate(call, r, j), center, scale, shift},
                                           (T*)call.dx + e,
                                           at_or_null((T*)call.d_residual, e),
                                           call.constants != 0,
                                           slope,
                                           offset},
          t.lanes_of(j), call.streams);
  }
}

}  // namespace
