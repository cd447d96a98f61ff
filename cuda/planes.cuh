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
};

struct PlanesForwardArgs {
  const void *x, *residual;  // the second one null: none
  void* y;
  uint8_t* gate;  // null: none
  double* parts;  // not null: mean and M2 of each channel go here, and that is all
  SavedOut saved;
  int64_t relu;
  Planes planes;
};

struct PlanesBackwardArgs {
  const void *x, *dy;
  void *dx, *residual;  // the gradient of the residual null: none
  const uint8_t* gate;  // null: none kept
  const void* shift;
  double* parts;   // not null: the two sums of each channel go here, and that is all
  double* packed;  // sums of dy, sums of dy xhat
  SlopesOut slopes;
  int64_t relu;
  Planes planes;
};
