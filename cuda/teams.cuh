// Blocks across the GPU that share what is too large for a cluster, and exchange their sums through
// global memory. All blocks of such a launch must be on the GPU at a time: the grid is no larger
// than that, and no two such launches may be under way. If blocks wait in vain, the launch ends
// with an error.
#pragma once

#include "portable.cuh"

// How the blocks of a team find each other.
struct Team {
  int64_t blocks;      // of a team; the grid has whole teams
  unsigned* counters;  // for each team two zeros, which are zero again at the end
  double* told;        // what blocks tell: so many values of each block as a kernel says
};

// The calling block among those of its team, time after time.
struct Teammate {
  // Half a minute, or more.
  static constexpr unsigned kMostPolls = 1u << 25;

  const Team& t;
  const uint32_t rank, team;

  BN_DEVICE explicit Teammate(const Team& t)
      : t(t), rank(blockIdx.x % uint32_t(t.blocks)), team(blockIdx.x / uint32_t(t.blocks)) {}
  BN_DEVICE uint32_t blocks() const { return uint32_t(t.blocks); }
  BN_DEVICE uint32_t teams() const { return gridDim.x / blocks(); }
  // Where the team's blocks tell, given the values of each.
  BN_DEVICE double* told(uint32_t values) const { return t.told + values * team * blocks(); }

  // One thread comes, behind a barrier of those that told something; what all blocks of the team
  // told before is there for those that wait for this thread. Times are 0, 1, 2 and so on. A block
  // comes again only when it has read what it needs, so nobody is more than one time ahead, and two
  // places for what is told, for even and for odd times, are enough.
  BN_DEVICE void meet(int time) const {
    unsigned* const come = t.counters + 2 * team;
    __threadfence();
    atomicAdd(come, 1u);
    unsigned polls = 0;
    BN_UNROLL_BY(1)
    while (load_acquire(come) < blocks() * unsigned(time + 1)) {
      if (++polls == kMostPolls) give_up();
      __nanosleep(100);
    }
  }

  // At the end. The last block to leave finds all others done with the counters.
  BN_DEVICE void leave() const {
    if (threadIdx.x != 0) return;
    unsigned* const counters = t.counters + 2 * team;
    __threadfence();
    if (atomicAdd(counters + 1, 1u) != blocks() - 1) return;
    __threadfence();
    counters[0] = counters[1] = 0;
  }
};
