// What the kernels share that hold channels of whole planes, be it in registers or in shared
// memory.
#pragma once

#include "single_pass.cuh"

// How a channel is cut, in vectors.
struct Planes {
  int64_t units;  // of a channel
  int64_t share;  // of a block, whole warps; the last ones may have fewer or none
  int64_t inner;  // of a plane
  int64_t channels;
  int64_t magic;          // 2^32 / inner, rounded up
  int64_t step_position;  // as many units on as a block has threads: modulo inner,
  int64_t step_address;   // and as the distance where position does not reach inner
  int64_t values;         // of a channel
  double per_value;       // 1 / values
};

// Where a thread stands in its block's part of a channel.
template <int kBlock>
struct Place {
  static constexpr int kStep = kBlock;  // units from one of a thread to its next

  uint32_t address, position;
  int left;  // units of the block from this thread's on

  // Of a channel that fits into registers, with no division.
  BN_DEVICE Place(const Planes& w, uint32_t channel, uint32_t rank)
      : Place(w, channel, rank, uint32_t(uint64_t(unit_of(w, rank)) * uint64_t(w.magic) >> 32)) {}
  // Given the plane of the thread's first unit.
  BN_DEVICE Place(const Planes& w, uint32_t channel, uint32_t rank, uint32_t outer) {
    const uint32_t share = uint32_t(w.share), inner = uint32_t(w.inner);
    const uint32_t unit = unit_of(w, rank);
    position = unit - outer * inner;
    address = (outer * uint32_t(w.channels) + channel) * inner + position;
    const int rest = int(w.units) - int(rank * share);
    left = (rest < int(share) ? rest : int(share)) - int(threadIdx.x);
  }
  static BN_DEVICE uint32_t unit_of(const Planes& w, uint32_t rank) {
    return rank * uint32_t(w.share) + threadIdx.x;
  }
  // Whether the thread has an i-th unit.
  BN_DEVICE bool has(int i) const { return left > i * kBlock; }
  BN_DEVICE void advance(const Planes& w) {
    address += uint32_t(w.step_address);
    position += uint32_t(w.step_position);
    if (position >= uint32_t(w.inner)) {
      position -= uint32_t(w.inner);
      address += uint32_t((w.channels - 1) * w.inner);
    }
  }
  // Where the next n units are, and on behind them.
  template <int n>
  BN_DEVICE void next(const Planes& w, uint32_t (&addresses)[n]) {
    BN_UNROLL
    for (int i = 0; i < n; ++i) {
      addresses[i] = address;
      advance(w);
    }
  }
};

struct PlanesForwardArgs : SinglePassForwardArgs {
  Planes planes;
};

struct PlanesBackwardArgs : SinglePassBackwardArgs {
  Planes planes;
};

// For a block in shared memory: what the thread that finishes a channel tells all others.
template <class Of>
struct Told {
  Of found;
  float exact;  // not 0: the sums were right. With an int a kernel of sm_75 spills
};

// All threads come, with what they have of a channel's sums: `together` adds up over the blocks
// that share the channel. One thread of each calls `finish`, which tells what is found and `exact`;
// if that is 0 the channel is taken again in F64, by all from the places that `start` gives. All
// threads see what was told.
template <class Units, class Together, class Sums, class Start, class Finish>
BN_DEVICE void finish_channel(const Planes& w, Together& together, const Sums& sums,
                              uint32_t channel, double p, double q, float& exact,
                              const Start& start, const Finish& finish) {
  constexpr int E = Units::kElements;
  const Units units{};
  BN_UNROLL_BY(1)
  for (int time = 0; time < 2; ++time) {
    together.add(time, p, q);
    if (threadIdx.x == 0) finish(time > 0, p, q);
    __syncthreads();
    if (exact != 0) break;
    p = q = 0;
    auto at = start();
    BN_UNROLL_BY(1)
    for (; at.left > 0; at.left -= at.kStep) {
      BN_UNROLL_BY(1)
      for (int e = 0; e < E; ++e) {
        sums.add_exactly(units, channel, int64_t(channel) * w.inner * E,
                         int64_t(at.address) * E + e, p, q);
      }
      at.advance(w);
    }
  }
}

// All elements of a channel have the same coefficients.
template <int E>
BN_DEVICE void set_all(Coefficients<float, E>& k, const Found& found) {
  BN_UNROLL
  for (int e = 0; e < E; ++e) k.set(e, found.center, found.scale, found.shift);
}
template <int E>
BN_DEVICE void set_all(InputGradient<float>::Constants<E>& k, const FoundSlope& found) {
  BN_UNROLL
  for (int e = 0; e < E; ++e) k.set(e, found.slope, found.offset);
}
