// What the single-pass kernels share: a cluster of blocks holds whole channels in its registers, so
// that data is read once and written once. Here is how its threads add up.
#pragma once

#include "channels.cuh"
#include "elements.cuh"
#include "sums.cuh"

// 16 bytes of one type that the compiler knows: no choice costs a register where most hold data.
template <class Format>
struct VectorsOf {
  using Value = float;
  using Raw = Packed;
  using Single = SingleFloats;
  static constexpr int kElements = Format::kLanes;

  static BN_DEVICE Raw once(const void* p, int64_t i) { return load_once((const Packed*)p + i); }
  static BN_DEVICE void unpack(const Raw& raw, float (&v)[kElements]) { Format::unpack(raw, v); }
  static BN_DEVICE void put(void* p, int64_t i, const float (&v)[kElements]) {
    store((Packed*)p + i, Format::pack(v));
  }
  static BN_DEVICE float get(const void* p, int64_t i) {
    return Format::widen(load_once((const typename Format::Stored*)p + i));
  }
};

// Of the calling block: 0 where there are no clusters.
template <int kCluster>
BN_DEVICE unsigned rank_in_cluster() {
#if BN_CLUSTERS
  if (kCluster > 1) return cluster_rank();
#endif
  return 0;
}

// Of n pairs: even lanes get the sum of their first values, odd ones of the second.
template <int n>
BN_DEVICE double sum_of_pairs(const double* pairs) {
  const int lane = int(threadIdx.x) % 32;
  double v = pairs[lane % (2 * n)];
  BN_UNROLL_BY(1)
  for (int m = 2; m < 2 * n; m *= 2) v += __shfl_xor_sync(~0u, v, m);
  return v;
}

// Adds up two values of all threads of a block, in F64: lanes, then warps. Even lanes of the first
// warp get the sum of p, odd ones that of q. The scratch has two values of each warp.
template <int kBlock>
BN_DEVICE double sum_over_block(double* scratch, double p, double q) {
  const int lane = int(threadIdx.x) % 32;
  // Even lanes go on with p, odd ones with q.
  double v = lane & 1 ? q : p;
  v += __shfl_xor_sync(~0u, lane & 1 ? p : q, 1);
  BN_UNROLL_BY(1)
  for (int m = 2; m < 32; m *= 2) v += __shfl_xor_sync(~0u, v, m);
  if (lane < 2) scratch[2 * (int(threadIdx.x) / 32) + lane] = v;
  __syncthreads();
  return threadIdx.x < 32 ? sum_of_pairs<kBlock / 32>(scratch) : v;
}

// Adds up two values of all threads of a cluster, at most twice in a launch, in F64 and in a fixed
// order: lanes, warps, blocks.
template <int kBlock, int kCluster>
struct Meeting {
  static constexpr int kWarpsOfBlock = kBlock / 32;
  static_assert(kWarpsOfBlock <= 16 && kCluster <= 16);
  // Two values of each warp; and of each block, written by its peers, for each of the two times.
  static constexpr int kScratch = 2 * kWarpsOfBlock + (kCluster > 1 ? 4 * kCluster : 0);

  double* scratch;

  // First of all: peers may write to the scratch of a block that has started.
  BN_DEVICE void start() const {
#if BN_CLUSTERS
    if (kCluster > 1) cluster_arrive_relaxed();
#endif
  }

  // All threads come. The first warp gets both totals; for the others this is the end of what they
  // wrote to shared memory before. No block touches another one's memory afterwards.
  BN_DEVICE void add(int time, double& p, double& q) const {
    const bool first = threadIdx.x < 32;
    double v = sum_over_block<kBlock>(scratch, p, q);
#if BN_CLUSTERS
    if (kCluster > 1) {
      double* const of_blocks = scratch + 2 * kWarpsOfBlock + 2 * kCluster * time;
      if (time == 0) cluster_wait();
      if (threadIdx.x < 2 * kCluster) {
        double* const mine = of_blocks + 2 * cluster_rank() + (threadIdx.x & 1);
        *cluster_peer(mine, threadIdx.x / 2) = v;
      }
      cluster_barrier();
      if (first) v = sum_of_pairs<kCluster>(of_blocks);
    }
#endif
    if (first) {
      p = __shfl_sync(~0u, v, 0);
      q = __shfl_sync(~0u, v, 1);
    }
  }
};

// A few F32 sums of a thread as one.
template <int N>
BN_DEVICE double sum_of(const float (&v)[N]) {
  static_assert(N == 4);
  return double(add_rn(add_rn(v[0], v[1]), add_rn(v[2], v[3])));
}
