// Where channels lie side by side: tiles of equal length follow each other, and each lane of a tile
// has F32 sums of its own, which after some tiles are folded into channels and merged in double. A
// tile is a row, several short rows, or the small planes of several channels.

#pragma once

#include "gates.h"
#include "runs.h"

namespace {

// Tiles whose F32 sums are taken before they are merged in double.
constexpr int64_t kBlockTiles = 64;

// Tiles that are read in lock step, each from a part of the range of its own: that keeps the
// prefetchers busy, and a lane's sums are loaded and stored once for all.
constexpr int kTileStreams = 4;

// The same for one tensor alone, where tiles are long.
constexpr int kMoreTileStreams = 8;
constexpr int64_t kLongTile = 1024;

static_assert(kTileStreams <= kMostRuns, "rooms of gates");

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
  // Few tiles do not pay for the sums of each lane and their folding.
  if (r.outer_to - r.outer_from < 4 && call.inner >= 64) return false;
  return call.inner < 512 && r.inner_to - r.inner_from == call.inner &&
         (r.channel_to - r.channel_from) * call.inner <= kMostLanes;
}

// A number per lane, with room for the last vector.
template <class N>
struct alignas(64) Lanes {
  N v[kMostLanes + kLanes];

  void clear(int64_t n) { memset(v, 0, (n + kLanes) * sizeof(N)); }
};

// Numbers of the channels over the lanes of a tile: as they lie, where that fits.
INLINE const float* over_lanes(const float* from, const Tiles& t, Lanes<float>& room) {
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

// Some positions in each of several streams of tiles, far apart from each other.
struct TileBlock {
  int64_t first;  // tile at the first position of the first stream
  int64_t positions;
  int64_t streams;
  int64_t apart;  // tiles from one stream to the next
  int64_t lanes;

  int64_t tiles() const { return positions * streams; }
};

// The blocks of a range one after another, in an order that depends on the range alone.
template <class Visit>
INLINE void each_block(const Tiles& t, int64_t streams, Visit visit) {
  const int64_t apart = t.count / streams, most = kBlockTiles / streams;
  for (int64_t p = 0; p < apart; p += most) {
    visit(TileBlock{p, apart - p < most ? apart - p : most, streams, apart, t.lanes});
  }
  const int64_t done = apart * streams;
  if (done < t.count) visit(TileBlock{done, t.count - done, 1, 0, t.lanes});
  if (t.rest > 0) visit(TileBlock{t.count, 1, 1, 0, t.rest});
}

// Adds up tiles in lock step, from one to the next so many elements and bytes of gate bits.
template <int kRuns, class Terms>
INLINE void add_lanes(const Terms& terms, int64_t apart, int64_t bits_apart, int64_t n,
                      float* u_sum, float* uw_sum) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t m = n - i < kLanes ? n - i : kLanes;
    F s = load(u_sum + i), s2 = load(uw_sum + i);
#pragma GCC unroll 8
    for (int g = 0; g < kRuns; ++g) {
      const At p = {g * apart + i, i, g * bits_apart + i / 8};
      F u, w;
      if (m == kLanes) {
        terms.at(p, kLanes, u, w);
      } else {
        terms.at(p, m, u, w);
      }
      s = add(s, u);
      s2 = fma(u, w, s2);
    }
    store(u_sum + i, s);
    store(uw_sum + i, s2);
  }
}

// The sums of each lane over a block, of what terms(tile) gives.
template <class Gates, class MakeTerms>
INLINE void add_block(const Tiles& t, const TileBlock& b, Gates& gates, Lanes<float>& u_sum,
                      Lanes<float>& uw_sum, MakeTerms terms) {
  u_sum.clear(b.lanes);
  uw_sum.clear(b.lanes);
  for (int64_t j = b.first; j < b.first + b.positions; ++j) {
    gates.before(j, b.apart, b.streams);
    const auto run = terms(j);
    const int64_t apart = b.apart * t.stride, bits_apart = gates.apart(b.apart);
    if (b.streams == kTileStreams) {
      add_lanes<kTileStreams>(run, apart, bits_apart, b.lanes, u_sum.v, uw_sum.v);
    } else if (b.streams == kMoreTileStreams) {
      add_lanes<kMoreTileStreams>(run, apart, bits_apart, b.lanes, u_sum.v, uw_sum.v);
    } else {
      add_lanes<1>(run, 0, 0, b.lanes, u_sum.v, uw_sum.v);
    }
  }
}

// The sum of each channel's lanes.
INLINE void fold(const Tiles& t, int64_t lanes, const Lanes<float>& lane, double* channel) {
  if (t.channel_step == 1) {
    for (int64_t c = 0; c < t.channels; ++c) channel[c] = lane.v[c];
    for (int64_t j = t.channels; j < lanes; j += t.channels) {
      for (int64_t c = 0; c < t.channels; ++c) channel[c] += lane.v[j + c];
    }
    return;
  }
  for (int64_t c = 0; c < t.channels; ++c) {
    const float* from = lane.v + c * t.channel_step;
    F s = set(0);
    int64_t i = 0;
    for (; i + kLanes <= t.repeats; i += kLanes) s = add(s, load(from + i));
    if (i < t.repeats) s = add(s, load(from + i, t.repeats - i));
    channel[c] = sum(s);
  }
}

// Calls visit(tile, lane) for each value of a channel in a block.
template <class Visit>
INLINE void each_value(const Tiles& t, const TileBlock& b, int64_t channel, Visit visit) {
  for (int64_t j = b.first; j < b.first + b.positions; ++j) {
    for (int64_t g = 0; g < b.streams; ++g) {
      for (int64_t k = 0; k < t.repeats; ++k) {
        const int64_t lane = channel * t.channel_step + k * t.repeat_step;
        if (lane < b.lanes) visit(j + g * b.apart, lane);
      }
    }
  }
}

// Mean and M2 of a channel in a block in double.
template <class T>
__attribute__((noinline)) Moments block_in_double(const T* x, const Tiles& t, const TileBlock& b,
                                                  int64_t channel, double n) {
  Moments m = {};
  each_value(t, b, channel,
             [&](int64_t tile, int64_t lane) { m.mean += value(x + t.element(tile) + lane); });
  m.mean /= n;
  each_value(t, b, channel, [&](int64_t tile, int64_t lane) {
    const double d = value(x + t.element(tile) + lane) - m.mean;
    m.m2 += d * d;
  });
  return m;
}

// Mean and M2 of each channel, as they grow block by block.
struct ChannelMoments {
  double* mean;
  double* m2;
  Lanes<float> k;                   // what is subtracted from values
  Lanes<float> shift, lane, lane2;  // the same over the lanes, where they need room, and their sums
  Lanes<double> sum, sum2;
  bool left[kMostLanes];  // out of the last block
};

// Takes the sums of a block, of n values per channel, into mean and M2. Leaves out channels whose
// values lie too far from what was subtracted: then it is true, and k is what they are near to.
// What is too far is asked of the M2 of all so far: a block of few values has often next to none.
INLINE bool merge_block(const Tiles& t, double n, double before, ChannelMoments& s) {
  const double per = 1.0 / n, weight = n / (before + n);
  const auto joined = [&](int64_t c) {
    const double sum = s.sum.v[c];
    Moments all = {s.mean[c], s.m2[c]};
    all.join(s.k.v[c] + sum * per, s.sum2.v[c] - sum * sum * per, weight, before);
    return all;
  };
  // Two loops without branches, which are vectorized, unless something is wrong.
  int64_t inexact = 0;
  for (int64_t c = 0; c < t.channels; ++c) {
    inexact |= -(int64_t)!is_exact(s.sum.v[c], s.sum2.v[c], joined(c).m2);
  }
  if (!inexact) {
    for (int64_t c = 0; c < t.channels; ++c) {
      const Moments all = joined(c);
      s.mean[c] = all.mean;
      s.m2[c] = all.m2;
    }
    return false;
  }
  bool any = false;
  for (int64_t c = 0; c < t.channels; ++c) {
    const Moments all = joined(c);
    s.left[c] = !is_exact(s.sum.v[c], s.sum2.v[c], all.m2) && s.mean[c] == s.mean[c];
    if (s.left[c]) {
      s.k.v[c] = (float)(s.k.v[c] + s.sum.v[c] * per);
      any = true;
      continue;
    }
    s.mean[c] = all.mean;
    s.m2[c] = all.m2;
  }
  return any;
}

// The same for channels that were left, from sums of values minus what they are near to, or in
// double where these are not exact either.
template <class T>
__attribute__((noinline)) void merge_left(const T* x, const Tiles& t, const TileBlock& b, double n,
                                          double before, ChannelMoments& s) {
  const PerLane k(over_lanes(s.k.v, t, s.shift));
  NoGates gates;
  add_block(t, b, gates, s.lane, s.lane2, [&](int64_t tile) {
    return MomentTerms<T, PerLane>{x + t.element(tile), k};
  });
  fold(t, b.lanes, s.lane, s.sum.v);
  fold(t, b.lanes, s.lane2, s.sum2.v);
  for (int64_t c = 0; c < t.channels; ++c) {
    if (!s.left[c]) continue;
    const double sum = s.sum.v[c], sum2 = s.sum2.v[c];
    Moments all = {s.mean[c], s.m2[c]};
    Moments block = {s.k.v[c] + sum / n, sum2 - sum * sum / n};
    if (!is_exact(sum, sum2, block.m2)) block = block_in_double(x, t, b, c, n);
    all.join(block.mean, block.m2, n / (before + n), before);
    s.mean[c] = all.mean;
    s.m2[c] = all.m2;
  }
}

// Moments of a range; add_up(tiles, block, sum, sum2, terms) finds the sums of each lane of a
// block.
template <class T, class Add>
INLINE void row_moments(const Call& call, const Range& r, Add add_up) {
  const Tiles t = tiles_of(call, r);
  const T* x = (const T*)call.x;
  ChannelMoments s;
  s.mean = call.part + r.slot + r.channel_from;
  s.m2 = call.part2 + r.slot + r.channel_from;
  Lanes<float>&sum = s.lane, &sum2 = s.lane2;
  // A first shift from a few tiles; dividing rounds no worse than the values themselves. Of four
  // the two in the middle, without outliers: they would take all other values far from the shift.
  // Twice where a channel has one or two values in a tile: of some thousand channels one is
  // otherwise far enough from its shift for the first block to be summed again.
  const bool twice = t.repeats < 4 && t.count >= kBlockTiles / 2;
  const int64_t few = t.count < 4 ? t.count : twice ? 4 : 2;
  for (int64_t i = 0; i < t.lanes; i += kLanes) {
    const int64_t m = t.lanes - i < kLanes ? t.lanes - i : kLanes;
    const auto at = [&](int64_t tile) { return load_some(x + t.element(tile) + i, m); };
    const auto middle = [&](int64_t tile) {
      return middle_of(at(tile), at(tile + 1), at(tile + 2), at(tile + 3));
    };
    F s;
    if (t.count < 4) {
      s = at(0);
      for (int64_t j = 1; j < few; ++j) s = add(s, at(j));
    } else {
      s = twice ? add(middle(0), middle(4)) : middle(0);
    }
    store(sum.v + i, s);
  }
  fold(t, t.lanes, sum, s.sum.v);
  const double per_shift = 1.0 / (double)(few * t.repeats);
  for (int64_t c = 0; c < t.channels; ++c) {
    s.k.v[c] = (float)(s.sum.v[c] * per_shift);
    s.mean[c] = s.m2[c] = 0;
  }
  double before = 0;
  // Not where channels share a tile: how many do is to decide about no bit of a result.
  const bool more = call.inner == 1 && t.lanes >= kLongTile && t.count >= kBlockTiles;
  each_block(t, more ? kMoreTileStreams : kTileStreams, [&](const TileBlock& b) {
    const PerLane k(over_lanes(s.k.v, t, s.shift));
    add_up(t, b, sum, sum2, [&](int64_t tile) {
      return MomentTerms<T, PerLane>{x + t.element(tile), k};
    });
    fold(t, b.lanes, sum, s.sum.v);
    fold(t, b.lanes, sum2, s.sum2.v);
    const double n = (double)(b.tiles() * (b.lanes / t.channels));
    if (merge_block(t, n, before, s)) merge_left(x, t, b, n, before, s);
    before += n;
    for (int64_t c = 0; c < t.channels; ++c) s.k.v[c] = (float)s.mean[c];
  });
}

template <class T>
void row_moments(const Call& call, const Range& r) {
  row_moments<T>(
      call, r,
      [](const Tiles& t, const TileBlock& b, Lanes<float>& sum, Lanes<float>& sum2, auto terms) {
        NoGates gates;
        add_block(t, b, gates, sum, sum2, terms);
      });
}

// Writes all tiles of a range, of what out(tile) gives, one after the other: several in lock step
// are often whole pages apart, and a processor that compares the low 12 bits of an address alone
// makes each load wait for the store before it. The next tile is asked for meanwhile instead, but
// not through the caches where it is the run of memory that follows, which the caches ask for
// themselves.
template <class Gates, class MakeOut>
INLINE void write_tiles(const Call& call, const Tiles& t, Gates& gates, MakeOut out) {
  const bool asks = call.streams || t.stride != t.lanes;
  for (int64_t j = 0; j < t.all(); ++j) {
    gates.before(j, 0, 1);
    auto tile = out(j);
    tile.ahead = asks && j + 1 < t.all() ? t.stride : 0;
    write(tile, t.lanes_of(j), call.streams);
    gates.after(j, 0, 1);
  }
}

// What a range's tiles are normalized with.
template <class T, Gate kGate>
struct RowNormalize {
  const Call& call;
  const Tiles& t;
  Lanes<float> c, a, b;
  PerLane center, scale, shift;
  GatesOf<kGate, true> gates;

  RowNormalize(const Call& call, const Range& r, const Tiles& t)
      : call(call),
        t(t),
        center(over_lanes(call.center + r.channel_from, t, c)),
        scale(over_lanes(call.scale + r.channel_from, t, a)),
        shift(over_lanes(call.shift + r.channel_from, t, b)),
        gates(call, r) {}

  INLINE_MEMBER Normalize<T, kGate, PerLane> at(int64_t tile) {
    const int64_t e = t.element(tile);
    return {(const T*)call.x + e,
            at_or_null((const T*)call.residual, e),
            (T*)call.y + e,
            gates.first(tile),
            call.relu != 0,
            center,
            scale,
            shift};
  }
};

template <class T, Gate kGate>
void row_normalize(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  RowNormalize<T, kGate> out(call, r, t);
  write_tiles(call, t, out.gates, [&](int64_t tile) { return out.at(tile); });
}

// Writes the tiles of `done` that lie as those which are about to be read of other channels, and
// asks for these meanwhile.
template <class T, Gate kGate>
struct WriteBefore : NoGates {
  const Call& call;
  RowNormalize<T, kGate>& out;
  const int64_t ahead;  // from a tile to the one that is read

  WriteBefore(const Call& call, RowNormalize<T, kGate>& out, int64_t ahead)
      : call(call), out(out), ahead(ahead) {}

  INLINE_MEMBER void before(int64_t tile, int64_t tiles, int64_t count) {
    for (int64_t g = 0; g < count; ++g) {
      const int64_t j = tile + g * tiles;
      auto o = out.at(j);
      o.ahead = ahead;
      write(o, out.t.lanes_of(j), call.streams);
      out.gates.after(j, 0, 1);
    }
  }
};

// Small planes: normalizes the channels of `done`, which lie in a cache, while those of `next` come
// from memory for their moments.
template <class T, Gate kGate>
void row_normalize_and_moments(const Call& call, const Range& done, const Range& next) {
  const Tiles t = tiles_of(call, done);
  const Tiles to_read = tiles_of(call, next);
  if (kRegs > 2 || !call.streams || t.channels == 0 || to_read.channels == 0) {
    if (t.channels > 0) row_normalize<T, kGate>(call, done);
    if (to_read.channels > 0) row_moments<T>(call, next);
    return;
  }
  RowNormalize<T, kGate> out(call, done, t);
  WriteBefore<T, kGate> writing(call, out, to_read.first - t.first);
  row_moments<T>(call, next,
                 [&](const Tiles& read, const TileBlock& b, Lanes<float>& sum, Lanes<float>& sum2,
                     auto terms) { add_block(read, b, writing, sum, sum2, terms); });
}

template <class T, Gate kGate>
void row_gradient_sums(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  Lanes<float> c, a, b, sum, sum2;
  Lanes<double> channel, channel2;
  const PerLane center(over_lanes(call.center + r.channel_from, t, c));
  const PerLane scale(over_lanes(call.scale + r.channel_from, t, a));
  const PerLane shift(over_lanes(call.shift + r.channel_from, t, b));
  GatesOf<kGate, false> gates(call, r);
  const auto in = [&](int64_t tile) {
    const int64_t e = t.element(tile);
    return Gated<T, kGate, PerLane>{(const T*)call.x + e,
                                    (const T*)call.dy + e,
                                    gates.first(tile),
                                    call.relu != 0,
                                    center,
                                    scale,
                                    shift};
  };
  double* total = call.part + r.slot + r.channel_from;
  double* total2 = call.part2 + r.slot + r.channel_from;
  memset(total, 0, t.channels * sizeof *total);
  memset(total2, 0, t.channels * sizeof *total2);
  each_block(t, kTileStreams, [&](const TileBlock& block) {
    add_block(t, block, gates, sum, sum2,
              [&](int64_t tile) { return GradientTerms<T, kGate, PerLane>{in(tile)}; });
    fold(t, block.lanes, sum, channel.v);
    fold(t, block.lanes, sum2, channel2.v);
    int64_t infinite = 0;
    for (int64_t ch = 0; ch < t.channels; ++ch) {
      infinite |= -(int64_t) !(is_finite(channel.v[ch]) & is_finite(channel2.v[ch]));
    }
    for (int64_t ch = 0; infinite && ch < t.channels; ++ch) {
      double &g = channel.v[ch], &gd = channel2.v[ch];
      if (!is_lost(g, total[ch]) && !is_lost(gd, total2[ch])) continue;
      g = gd = 0;
      each_value(t, block, ch, [&](int64_t tile, int64_t lane) {
        gates.before(tile, 0, 1);
        add_in_double(in(tile), lane, g, gd);
      });
    }
    for (int64_t ch = 0; ch < t.channels; ++ch) {
      total[ch] += channel.v[ch];
      total2[ch] += channel2.v[ch];
    }
  });
}

template <class T, Gate kGate>
void row_input_gradient(const Call& call, const Range& r) {
  const Tiles t = tiles_of(call, r);
  Lanes<float> c, a, b, p, q;
  const PerLane center(over_lanes(call.center + r.channel_from, t, c));
  const PerLane scale(over_lanes(call.scale + r.channel_from, t, a));
  const PerLane shift(over_lanes(call.shift + r.channel_from, t, b));
  const PerLane slope(over_lanes(call.slope + r.channel_from, t, p));
  const PerLane offset(over_lanes(call.offset + r.channel_from, t, q));
  GatesOf<kGate, false> gates(call, r);
  write_tiles(call, t, gates, [&](int64_t tile) {
    const int64_t e = t.element(tile);
    return InputGradient<T, kGate, PerLane>{
        {(const T*)call.x + e, (const T*)call.dy + e, gates.first(tile), call.relu != 0, center,
         scale, shift},
        (T*)call.dx + e,
        at_or_null((T*)call.d_residual, e),
        call.constants != 0,
        slope,
        offset};
  });
}

}  // namespace
