// A training step's half in one pass over the data, where planes are whole vectors of 16 bytes
// (NCHW): a cluster of blocks holds one channel in its registers, reads it once, adds up, and
// writes the result. Forward and backward are what forward.cu and backward.cu say.
//
//   entry                          block  cluster  bytes of a channel, at most
//                                                  forward     backward
//   rr_*_f32, _f16, _bf16 _small   128    1        16 KB       8 KB
//                         _c1      512    1        64 KB       32 KB
//                         _c2      512    2        128 KB      64 KB
//                         _c4      512    4        256 KB      128 KB
//                         _c8      512    8        512 KB      256 KB
//                         _c16     512    16       1 MB        512 KB
//
// Addresses are multiples of 16, planes whole vectors and, where a forward keeps a gate, whole
// bytes of it; the tensor has less than 2^31 vectors. _c2 and above exist for GPUs with clusters
// (sm_90 and newer), _c16 takes more than every one of them grants.
//
// Block contract: a grid of clusters, one for each channel; blocks of a cluster wait for each
// other, no cluster waits for another one. Results are valid when the launch is over; y may be x or
// the residual, dx may be dy or x, and dResidual dy. Bytes moved: forward reads x and the residual
// and writes y, backward reads x and dy and writes dx and dResidual, each once, and a bit for each
// element where there is a gate (which backward reads a second time, from a cache). With `parts`
// only the sums are taken: mean and M2, or the two sums, of each channel, to the same bits.
//
// Values are shifted by the channel's first one, or centered; a thread's sums are F32, what is
// above F64. Where F32 could not hold them the cluster takes its channel again in F64, from memory.

#include "planes.cuh"

// Vectors that the thread which finishes a channel puts aside, to have registers for that.
constexpr int kAside = 4;

template <class Format, int kBlock, int kCluster>
BN_DEVICE void rr_forward(const PlanesForwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = Meeting<kBlock, kCluster>;
  constexpr int E = Units::kElements, kHeld = 8;
  BN_SHARED(double, scratch, Together::kScratch);
  BN_SHARED(Told<Found>, told, 1);
  BN_SHARED(Packed, aside, kAside);
  Together together{scratch};
  together.start();
  const Units units{};
  const Planes& w = g.planes;
  const uint32_t rank = rank_in_cluster<kCluster>(), channel = blockIdx.x / kCluster;
  const Place<kBlock> start(w, channel, rank);

  Packed held[kHeld];
  {
    Place<kBlock> at = start;
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (start.has(i)) {
        held[i] = units.once(g.x, at.address);
        if (g.residual) prefetch((const Packed*)g.residual + at.address);
      }
      at.advance(w);
    }
  }
  const ForwardNumbers numbers =
      ForwardNumbers::of(g, units, channel, int64_t(channel) * w.inner * E);

  const MomentSums<Units> sums{g.x, nullptr};
  float some_p[4] = {0, 0, 0, 0}, some_q[4] = {0, 0, 0, 0};
  typename MomentSums<Units>::Constants k;
  BN_UNROLL
  for (int e = 0; e < E; ++e) k.k[e] = numbers.first;
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (start.has(i)) sums.add(units, k, held[i], 0, some_p, some_q);
  }
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) keep_packed(held[i]);
  finish_channel<Units>(
      w, together, sums, channel, sum_of(some_p), sum_of(some_q), told->exact,
      [&] { return Place<kBlock>(w, channel, rank); },
      [&](bool in_f64, double p, double q) {
        BN_UNROLL
        for (int i = 0; i < kAside; ++i) aside[i] = held[i];
        from_memory();
        find_moments<Units>(g, w, channel, numbers, rank == 0, in_f64, p, q, told->found,
                            told->exact);
        from_memory();
        BN_UNROLL
        for (int i = 0; i < kAside; ++i) held[i] = aside[i];
      });
  if (g.parts) return;

  const Normalize<float> apply = g.normalize();
  Coefficients<float, E> coefficients;
  set_all(coefficients, told->found);
  Place<kBlock> at = start;
  BN_UNROLL
  for (int i = 0; i < kHeld; i += 2) {
    uint32_t address[2];
    at.next(w, address);
    put_normalized<2>(
        apply, units, coefficients, [&](int j) { return start.has(i + j); },
        [&](int j) { return address[j]; }, [&](int j, Packed& x) { x = held[i + j]; });
  }
}

template <class Format, int kBlock, int kCluster>
BN_DEVICE void rr_backward(const PlanesBackwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = Meeting<kBlock, kCluster>;
  constexpr int E = Units::kElements, kHeld = 4;
  BN_SHARED(double, scratch, Together::kScratch);
  BN_SHARED(Told<FoundSlope>, told, 1);
  BN_SHARED(Packed, aside, kAside);
  Together together{scratch};
  together.start();
  const Units units{};
  const Planes& w = g.planes;
  const uint32_t rank = rank_in_cluster<kCluster>(), channel = blockIdx.x / kCluster;
  const Place<kBlock> start(w, channel, rank);

  typename GradientSums<Units>::Loaded held[kHeld];
  {
    Place<kBlock> at = start;
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (start.has(i)) {
        held[i].x = units.once(g.x, at.address);
        held[i].dy = units.once(g.dy, at.address);
      }
      at.advance(w);
    }
  }
  // What g.sums() and found_before() are elsewhere: by them the compiler spills here.
  const float* const center = (const float*)g.slopes.center;
  const float* const scale = (const float*)g.slopes.scale;
  const float* const shift = (const float*)g.shift;
  InputGradient<float>::Constants<E> k;
  const auto find = [&] {
    set_all(k.forward,
            Found{load_shared_by_many(center + channel), load_shared_by_many(scale + channel),
                  load_shared_by_many(shift + channel)});
  };
  find();
  const GradientSums<Units> sums{g.x, g.dy, g.gate, center, scale, shift, g.relu != 0, nullptr};
  float some_p[4] = {0, 0, 0, 0}, some_q[4] = {0, 0, 0, 0};
  {
    Place<kBlock> at = start;
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (start.has(i)) sums.add(units, k.forward, held[i], at.address, some_p, some_q);
      at.advance(w);
    }
  }
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    keep_packed(held[i].x);
    keep_packed(held[i].dy);
  }
  finish_channel<Units>(
      w, together, sums, channel, sum_of(some_p), sum_of(some_q), told->exact,
      [&] { return Place<kBlock>(w, channel, rank); },
      [&](bool in_f64, double p, double q) {
        BN_UNROLL
        for (int i = 0; i < kAside; ++i) aside[i] = held[i].dy;
        from_memory();
        find_slopes<Units>(g, w, channel, rank == 0, in_f64, p, q, told->found, told->exact);
        from_memory();
        BN_UNROLL
        for (int i = 0; i < kAside; ++i) held[i].dy = aside[i];
      });
  if (g.parts) return;

  const InputGradient<float> apply = g.gradient();
  // The compiler spills if these stay where they are, and for 16 bits if they do not.
  if (E == 4) find();
  set_all(k, told->found);
  Place<kBlock> at(w, channel, rank);
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (start.has(i)) apply.put(units, at.address, {held[i].x, held[i].dy}, k);
    at.advance(w);
  }
}

#define OF_TYPE(ENTRY, type, Format, suffix, block, cluster)                   \
  ENTRY rr_forward_##type##_##suffix(BN_ARGUMENTS(PlanesForwardArgs) args) {   \
    rr_forward<Format, block, cluster>(args);                                  \
  }                                                                            \
  ENTRY rr_backward_##type##_##suffix(BN_ARGUMENTS(PlanesBackwardArgs) args) { \
    rr_backward<Format, block, cluster>(args);                                 \
  }
#define OF_EACH_TYPE(ENTRY, suffix, block, cluster) \
  OF_TYPE(ENTRY, f32, F32, suffix, block, cluster)  \
  OF_TYPE(ENTRY, f16, F16, suffix, block, cluster)  \
  OF_TYPE(ENTRY, bf16, BF16, suffix, block, cluster)

OF_EACH_TYPE(BN_RESIDENT_ENTRY(128, 8), small, 128, 1)
OF_EACH_TYPE(BN_RESIDENT_ENTRY(512, 2), c1, 512, 1)
#if BN_CLUSTERS
OF_EACH_TYPE(BN_CLUSTER_ENTRY(512, 2, 2), c2, 512, 2)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(512, 2, 4), c4, 512, 4)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(512, 2, 8), c8, 512, 8)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(512, 2, 16), c16, 512, 16)
#endif

#undef OF_EACH_TYPE
#undef OF_TYPE
