// What the single-pass kernels share: blocks hold whole channels, so that data is read once and
// written once. Here is how threads add up, what follows from a channel's sums, and how results are
// written; planes.cuh and columns.cuh have how channels are cut.
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

// What a forward gets, besides how a channel is cut.
struct SinglePassForwardArgs {
  const void *x, *residual;  // the second one null: none
  void* y;
  uint8_t* gate;  // null: none
  double* parts;  // not null: mean and M2 of each channel go here, and that is all
  SavedOut saved;
  int64_t relu;

  BN_DEVICE Normalize<float> normalize() const {
    return {x, residual, y, gate, nullptr, nullptr, nullptr, relu != 0};
  }
};

// Of a channel, for its elements.
struct Found {
  float center, scale, shift;
};
struct FoundSlope {
  float slope, offset;
};

struct SinglePassBackwardArgs {
  const void *x, *dy;
  void *dx, *residual;  // the gradient of the residual null: none
  const uint8_t* gate;  // null: none kept
  const void* shift;
  double* parts;   // not null: the two sums of each channel go here, and that is all
  double* packed;  // sums of dy, sums of dy xhat
  SlopesOut slopes;
  int64_t relu;

  template <class Units>
  BN_DEVICE GradientSums<Units> sums() const {
    return {x,
            dy,
            gate,
            (const float*)slopes.center,
            (const float*)slopes.scale,
            (const float*)shift,
            relu != 0,
            nullptr};
  }
  BN_DEVICE InputGradient<float> gradient() const {
    return {x, dy, dx, residual, gate, nullptr, nullptr, nullptr, nullptr, nullptr, relu != 0};
  }
};

// What the forward found of a channel.
template <class Units>
BN_DEVICE Found found_before(const GradientSums<Units>& sums, int64_t channel) {
  return {load_shared_by_many(sums.center + channel), load_shared_by_many(sums.scale + channel),
          load_shared_by_many(sums.shift + channel)};
}

// What the thread that finishes a channel needs of it besides its sums.
struct ForwardNumbers {
  float first;  // of its values: sums are those of values without it
  float gamma, beta;

  // Given the channel's first element.
  template <class Units>
  static BN_DEVICE ForwardNumbers of(const SinglePassForwardArgs& g, const Units& units,
                                     int64_t channel, int64_t top) {
    const Coefficient narrow{false};
    return {units.get(g.x, top), float(narrow.get(g.saved.gamma, channel, 1)),
            float(narrow.get(g.saved.beta, channel, 0))};
  }
};

// What follows from the sums of a channel that is cut in the way w. Of the threads that have them
// one `writes`. `exact` gets whether they are right: taken in F64, or held by F32.
template <class Units, class Cut, class Exact>
BN_DEVICE void find_moments(const SinglePassForwardArgs& g, const Cut& w, int64_t channel,
                            const ForwardNumbers& n, bool writes, bool in_f64, double p, double q,
                            Found& found, Exact& exact) {
  const double shift = p * w.per_value, m2 = q - p * shift;
  exact = in_f64 || MomentSums<Units>::f32_held(p, q, m2);
  const double mean = double(n.first) + shift, rest = m2 < 0 ? 0 : m2;
  if (g.parts) {
    if (writes) {
      g.parts[2 * channel] = mean;
      g.parts[2 * channel + 1] = rest;
    }
  } else {
    const SavedOut::Numbers to = g.saved.numbers(n.gamma, n.beta, mean, rest / double(w.values));
    if (writes) {
      g.saved.put(channel, to);
      if (channel == 0) g.saved.put_count(w.values);
    }
    found = {float(to.center), float(to.scale), float(to.shift)};
  }
}

// The same backward.
template <class Units, class Cut, class Exact>
BN_DEVICE void find_slopes(const SinglePassBackwardArgs& g, const Cut& w, int64_t channel,
                           bool writes, bool in_f64, double p, double q, FoundSlope& found,
                           Exact& exact) {
  exact = in_f64 || GradientSums<Units>::f32_held(p, q);
  if (g.parts) {
    if (writes) {
      g.parts[2 * channel] = p;
      g.parts[2 * channel + 1] = q;
    }
  } else {
    const SlopesOut::Kept kept = g.slopes.kept(channel);
    const double dy_xhat = kept.against_xhat(p, q), slope = kept.slope(dy_xhat);
    if (writes) {
      g.packed[channel] = p;
      g.packed[w.channels + channel] = dy_xhat;
    }
    found = {float(slope), float(kept.offset(p, slope))};
  }
}

// Writes N vectors of a thread, when all that they need is on its way. All threads come, as the
// gate asks: `has` says whether the thread has the i-th of them, `unit_of` which of the tensor that
// is, and `get` gets what x is there. That each is asked again costs less than registers for
// answers.
template <int N, class Units, class Has, class UnitOf, class Get>
BN_DEVICE void put_normalized(const Normalize<float>& apply, const Units& units,
                              const Coefficients<float, Units::kElements>& k, const Has& has,
                              const UnitOf& unit_of, const Get& get) {
  Normalize<float>::Loaded<Units> in[N];
  BN_UNROLL
  for (int i = 0; i < N; ++i) {
    get(i, in[i].x);
    if (apply.residual && has(i)) in[i].residual = units.once(apply.residual, unit_of(i));
  }
  BN_UNROLL
  for (int i = 0; i < N; ++i) {
    const bool on = has(i);
    const uint32_t unit = unit_of(i);
    const unsigned bits = on ? apply.put(units, unit, in[i], k) : 0;
    apply.put_gate<Units::kElements>(unit, bits, on);
  }
}

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
