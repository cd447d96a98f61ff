// Gate bits of tiles. Each plane begins at a byte; where small planes are taken side by side as one
// tile, as many values as a vector has are neighbours across the gaps between their bits, which are
// closed in room of its own: a tile is the same then whether its values are rows or planes.

#pragma once

#include <type_traits>

#include "runs.h"

namespace {

using fusednorm::kMostLanes;

// The most tiles in lock step that have a gate.
constexpr int64_t kMostRuns = 4;

// The bits of planes, each padded to whole bytes, and the same bits without a gap.
struct PlaneBits {
  int64_t planes, inner, stride;

  // So many bits at a time that they fit a word wherever in a byte they begin.
  static constexpr int64_t kMost = 56;

  const uint8_t* end(const uint8_t* padded) const { return padded + planes * stride; }

  // What is written behind the bits, up to a word, is of no meaning.
  __attribute__((noinline)) void join(const uint8_t* padded, uint8_t* to) const {
    const uint8_t* past = end(padded);
    uint64_t word = 0;
    int64_t held = 0;
    for (int64_t p = 0; p < planes; ++p, padded += stride) {
      for (int64_t i = 0; i < inner; i += kMost) {
        const int64_t n = inner - i < kMost ? inner - i : kMost;
        const uint8_t* from = padded + i / 8;
        uint64_t bits = 0;
        if (past - from >= 8) {
          memcpy(&bits, from, 8);
        } else {
          for (int64_t k = 0; k < past - from; ++k) bits |= (uint64_t)from[k] << (8 * k);
        }
        word |= (bits & ((uint64_t(1) << n) - 1)) << held;
        memcpy(to, &word, 8);
        held += n;
        to += held / 8;
        word >>= held / 8 * 8;
        held %= 8;
      }
    }
  }

  // Writes no byte behind the last plane.
  __attribute__((noinline)) void part(const uint8_t* joined, uint8_t* padded) const {
    uint8_t* past = padded + planes * stride;
    int64_t at = 0;
    for (int64_t p = 0; p < planes; ++p, padded += stride) {
      for (int64_t i = 0; i < inner; i += kMost) {
        const int64_t n = inner - i < kMost ? inner - i : kMost;
        uint64_t bits;
        memcpy(&bits, joined + at / 8, 8);
        bits = bits >> at % 8 & ((uint64_t(1) << n) - 1);
        uint8_t* to = padded + i / 8;
        if (past - to >= 8) {
          memcpy(to, &bits, 8);
        } else {
          for (int64_t k = 0; k < (n + 7) / 8; ++k) to[k] = (uint8_t)(bits >> (8 * k));
        }
        at += n;
      }
    }
  }
};

// The gates of some tiles in lock step: where they lie, or, where a tile is made of planes, in
// room of its own without the gaps between planes.
template <bool kWritten>
struct TileGates {
  // A word is read and written wherever the last bits are.
  static constexpr int64_t kBytes = kMostLanes / 8 + 16;

  const Call& call;
  const Range& range;
  uint8_t room[kMostRuns][kBytes];

  TileGates(const Call& c, const Range& r) : call(c), range(r) {}

  INLINE_MEMBER bool has_gaps() const { return call.gate && call.inner > 1; }

  PlaneBits planes() const {
    return {range.channel_to - range.channel_from, call.inner, call.gate_stride};
  }

  uint8_t* padded(int64_t tile) const {
    const int64_t plane = (range.outer_from + tile) * call.channels + range.channel_from;
    return call.gate + plane * call.gate_stride;
  }

  // That of the first of some tiles in lock step, or null.
  INLINE_MEMBER uint8_t* first(int64_t tile) {
    if (!call.gate) return nullptr;
    if (call.inner > 1) return room[0];
    const int64_t at = range.outer_from / call.rows_per_tile + tile;
    return call.gate + at * call.gate_stride + range.channel_from / 8;
  }

  // Bytes from one to the next, where tiles are so many apart.
  INLINE_MEMBER int64_t apart(int64_t tiles) const {
    return call.inner > 1 ? kBytes : tiles * call.gate_stride;
  }

  INLINE_MEMBER void before(int64_t tile, int64_t tiles, int64_t count) {
    if (kWritten || !has_gaps()) return;
    for (int64_t g = 0; g < count; ++g) planes().join(padded(tile + g * tiles), room[g]);
  }

  INLINE_MEMBER void after(int64_t tile, int64_t tiles, int64_t count) {
    if (!kWritten || !has_gaps()) return;
    for (int64_t g = 0; g < count; ++g) planes().part(room[g], padded(tile + g * tiles));
  }
};

// Those of what has none.
struct NoGates {
  NoGates() {}
  NoGates(const Call&, const Range&) {}

  INLINE_MEMBER uint8_t* first(int64_t) const { return nullptr; }
  INLINE_MEMBER int64_t apart(int64_t) const { return 0; }
  INLINE_MEMBER void before(int64_t, int64_t, int64_t) const {}
  INLINE_MEMBER void after(int64_t, int64_t, int64_t) const {}
};

template <Gate kGate, bool kWritten>
using GatesOf = std::conditional_t<kGate == Gate::kNone || kGate == Gate::kRecomputed, NoGates,
                                   TileGates<kWritten>>;

}  // namespace
