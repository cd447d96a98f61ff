// Two sums over the values of each channel: what moments and gradients are made of.
#pragma once

#include "norm.cuh"

// The parts of a channel, one for each slice, lie side by side.
BN_DEVICE int64_t part_of(const Columns& w, int64_t channel, int64_t slice) {
  return 2 * (channel * w.slices + slice);
}

// Shared memory of a task in doubles: two values of each lane, then two of each thread, then a bit
// for each channel.
template <class Units>
constexpr int kSumsScratch = kThreads*(Units::kElements < 2 ? 2 : Units::kElements) + 2 * kThreads;
template <class Units>
constexpr int kScratch = kSumsScratch<Units> + kThreads / 64;

// Adds up what the threads of a block have, in F64 and in a fixed order: the values p, then q, of
// thread t are number t * E and following, and number i belongs to channel i % channels of the
// task. Thread c gets the totals of channel c. The scratch is free when the next barrier is over.
template <class V, int E>
BN_DEVICE void sum_over_lanes(int channels, const V (&p)[E], const V (&q)[E], double* scratch,
                              double& total_p, double& total_q) {
  V* const lanes_p = (V*)scratch;
  V* const lanes_q = lanes_p + kThreads * E;
  double* const threads_p = (double*)(lanes_q + kThreads * E);
  double* const threads_q = threads_p + kThreads;
  const int t = threadIdx.x;
  BN_UNROLL
  for (int e = 0; e < E; ++e) {
    lanes_p[t * E + e] = p[e];
    lanes_q[t * E + e] = q[e];
  }
  __syncthreads();
  total_p = 0;
  total_q = 0;
  BN_UNROLL_BY(1)
  for (int i = t; i < kThreads * E; i += kThreads) {
    total_p += double(lanes_p[i]);
    total_q += double(lanes_q[i]);
  }
  BN_UNROLL_BY(1)
  for (int m = channels; m < 32; m *= 2) {
    total_p += __shfl_xor_sync(~0u, total_p, m);
    total_q += __shfl_xor_sync(~0u, total_q, m);
  }
  threads_p[t] = total_p;
  threads_q[t] = total_q;
  __syncthreads();
  if (t >= channels) return;
  BN_UNROLL_BY(1)
  for (int i = t + (channels < 32 ? 32 : channels); i < kThreads;
       i += channels < 32 ? 32 : channels) {
    total_p += threads_p[i];
    total_q += threads_q[i];
  }
}

// Two sums over the values of each channel of a task, kept by `Sums`: in F32 over the few units
// that a thread takes, then in F64. Channels that F32 could not hold are done again in F64, element
// by element; their neighbours stay as they are.
template <class Units, class Sums>
BN_DEVICE void reduce_task(const Columns& w, const Units& units, const Sums& sums, int64_t task,
                           double* scratch) {
  using V = typename Units::Value;
  constexpr int E = Units::kElements, kBatch = Sums::kBatch;
  V lane_p[E], lane_q[E];
  BN_UNROLL
  for (int e = 0; e < E; ++e) lane_p[e] = lane_q[e] = 0;
  Walker at(w, task);
  typename Sums::Constants constants;
  sums.begin(units, w, at, constants);
  BN_UNROLL_BY(1)
  while (at.active()) {
    typename Sums::Loaded in[kBatch];
    int64_t address[kBatch];
    bool on[kBatch];
    BN_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      address[i] = at.address;
      on[i] = at.active();
      if (on[i]) in[i] = sums.load(units, address[i]);
      at.advance(w);
    }
    BN_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      if (on[i]) sums.add(units, constants, in[i], address[i], lane_p, lane_q);
    }
  }
  const Walker start(w, task);
  const int each = w.channels_of_unit<E>(), channels = int(w.width) * each;
  double total_p, total_q;
  sum_over_lanes(channels, lane_p, lane_q, scratch, total_p, total_q);
  // The thread that finishes a channel is not always one of those that add it up.
  const int64_t first_column = start.group * w.width;
  const int64_t first_top = start.top - (start.column - first_column) * w.inner;
  const auto finish = [&](int channel, bool check) {
    const int64_t column = first_column + channel / each;
    if (column >= w.columns) return true;
    const int64_t top = (first_top + channel / each * w.inner) * E + channel % each;
    return sums.finish(units, w, first_column * each + channel, start.slice, top, total_p, total_q,
                       check);
  };
  bool exact = true;
  if (int(threadIdx.x) < channels) exact = finish(int(threadIdx.x), true);
  unsigned* const inexact = (unsigned*)(scratch + kSumsScratch<Units>);
  const unsigned of_warp = __ballot_sync(~0u, !exact);
  if (threadIdx.x % 32 == 0) inexact[threadIdx.x / 32] = of_warp;
  // Also the end of the scratch's use.
  if (!__syncthreads_or(!exact) || sizeof(V) == sizeof(double)) return;
  BN_UNROLL_BY(1)
  for (int e = 0; e < each; ++e) {
    // A thread below the width finishes the column that it adds up.
    const int channel = (int(threadIdx.x) & (int(w.width) - 1)) * each + e;
    const bool again = inexact[channel / 32] >> channel % 32 & 1;
    double one_p[1] = {0}, one_q[1] = {0};
    BN_UNROLL_BY(1)
    for (at = start; again && at.active(); at.advance(w)) {
      BN_UNROLL_BY(1)
      for (int j = e; j < E; j += each) {
        sums.add_exactly(units, start.column * each + e, start.top * E + e, at.address * E + j,
                         one_p[0], one_q[0]);
      }
    }
    sum_over_lanes(int(w.width), one_p, one_q, scratch, total_p, total_q);
    if (again && int(threadIdx.x) < int(w.width)) finish(channel, false);
    __syncthreads();
  }
}

// Sums of x - K and its square, with K the slice's first value in the channel. K is one of the
// values, so that the squares' sum is at most n + 1 times M2 whatever the mean.
template <class Units>
struct MomentSums {
  using V = typename Units::Value;
  static constexpr int E = Units::kElements, kBatch = 4;
  using Loaded = typename Units::Raw;

  const void* x;
  double* parts;  // mean and M2

  struct Constants {
    V k[E];
  };

  BN_DEVICE void begin(const Units& units, const Columns& w, const Walker& at,
                       Constants& constants) const {
    V first[E];
    BN_UNROLL
    for (int e = 0; e < E; ++e) first[e] = 0;
    if (at.active()) units.unpack(units.kept(x, at.top), first);
    BN_UNROLL
    for (int e = 0; e < E; ++e) constants.k[e] = w.fold ? first[0] : first[e];
  }

  BN_DEVICE Loaded load(const Units& units, int64_t unit) const { return units.kept(x, unit); }

  // Of N sums each takes every N-th element of a unit.
  template <int N>
  BN_DEVICE void add(const Units& units, const Constants& constants, const Loaded& in, int64_t,
                     V (&p)[N], V (&q)[N]) const {
    V v[E];
    units.unpack(in, v);
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const V d = sub_rn(v[e], constants.k[e]);
      p[e % N] = add_rn(p[e % N], d);
      q[e % N] = fma_rn(d, d, q[e % N]);
    }
  }

  BN_DEVICE void add_exactly(const Units& units, int64_t, int64_t top, int64_t element, double& p,
                             double& q) const {
    const double d = double(units.get(x, element)) - double(units.get(x, top));
    p += d;
    q = fma_rn(d, d, q);
  }

  // Not when K was far from the mean, nor when squares overflowed or may have underflowed.
  static BN_DEVICE bool f32_held(double p, double q, double m2) {
    const bool constant = p == 0 && q == 0;
    return constant || (m2 >= q / 16 && q >= 1e-30 && q <= 0x1p1000);
  }

  BN_DEVICE bool finish(const Units& units, const Columns& w, int64_t channel, int64_t slice,
                        int64_t top, double p, double q, bool check) const {
    const double mean = p * (slice + 1 < w.slices ? w.per_values : w.per_rest), m2 = q - p * mean;
    if (sizeof(V) == sizeof(float) && check && !f32_held(p, q, m2)) return false;
    double* const part = parts + part_of(w, channel, slice);
    part[0] = double(units.get(x, top)) + mean;
    part[1] = m2 < 0 ? 0 : m2;
    return true;
  }
};

// Sums of dy and dy (x - c) kReduction, dy gated by the activation.
template <class Units>
struct GradientSums {
  using V = typename Units::Value;
  static constexpr int E = Units::kElements, kBatch = 2;
  struct Loaded {
    typename Units::Raw x, dy;
  };

  const void *x, *dy;
  const uint8_t* gate;
  const V *center, *scale, *shift;
  bool relu;
  double* parts;  // the two sums

  using Constants = Coefficients<V, E>;

  BN_DEVICE void begin(const Units&, const Columns& w, const Walker& at, Constants& k) const {
    if (!at.active()) return;
    const int each = w.channels_of_unit<E>();
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const int64_t channel = at.column * each + (w.fold ? 0 : e);
      k.set(e, center[channel], scale[channel], shift[channel]);
    }
  }

  BN_DEVICE Loaded load(const Units& units, int64_t unit) const {
    return {units.kept(x, unit), units.kept(dy, unit)};
  }

  template <int N>
  BN_DEVICE void add(const Units& units, const Constants& k, const Loaded& in, int64_t unit,
                     V (&p)[N], V (&q)[N]) const {
    V v[E], g[E];
    units.unpack(in.x, v);
    units.unpack(in.dy, g);
    const unsigned bits = relu && gate ? gate_bits<E>(gate, unit) : ~0u;
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const V centered = k.centered(e, v[e]);
      const bool pass = relu && !gate ? passes(k.normalized(e, centered)) : bits >> e & 1;
      const V gated = pass ? g[e] : 0;
      p[e % N] = add_rn(p[e % N], gated);
      q[e % N] = fma_rn(gated, centered, q[e % N]);
    }
  }

  BN_DEVICE void add_exactly(const Units& units, int64_t channel, int64_t, int64_t element,
                             double& p, double& q) const {
    Coefficients<V, 1> one;
    one.set(0, center[channel], scale[channel], shift[channel]);
    const V v = units.get(x, element);
    const bool pass = !relu  ? true
                      : gate ? gate_bits<1>(gate, element) & 1
                             : passes(one.normalized(0, one.centered(0, v)));
    const double gated = pass ? double(units.get(dy, element)) : 0;
    p += gated;
    q = fma_rn(gated, (double(v) - double(center[channel])) * kReduction, q);
  }

  static BN_DEVICE bool f32_held(double p, double q) {
    return fabs(p) <= 0x1p1000 && fabs(q) <= 0x1p1000;
  }

  BN_DEVICE bool finish(const Units&, const Columns& w, int64_t channel, int64_t slice, int64_t,
                        double p, double q, bool check) const {
    if (sizeof(V) == sizeof(float) && check && !f32_held(p, q)) return false;
    double* const part = parts + part_of(w, channel, slice);
    part[0] = p;
    part[1] = q;
    return true;
  }
};
