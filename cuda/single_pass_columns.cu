// A training step's half in one pass over the data, where planes are no whole vectors of 16 bytes
// (7 x 7, or channels last): a row, which is what one outer index has, is cut into runs of whole
// vectors, of a few neighbouring channels each. A cluster of blocks holds a run of all rows in its
// registers, reads it once, adds up, and writes the result. Forward and backward are what
// forward.cu and backward.cu say.
//
//   entry                       block  cluster  rows, at most, of a run of u vectors
//                                               forward                   backward
//   cols_*_f32, _f16, _bf16 _c1 256    1        8 floor(256 / u)          4 floor(256 / u)
//                           _c2 256    2        twice as many, and so on, up to
//                           _c16 256   16       16 times that
//
// Addresses are multiples of 16, rows and runs whole vectors, a run has at most 256 vectors and 64
// channels, the tensor less than 2^31 vectors. A row's last run may have fewer channels. A forward
// that keeps a gate of F32 needs an even number of vectors in rows and runs. _c2 and above exist
// for GPUs with clusters (sm_90 and newer), _c16 takes more than every one of them grants.
//
// Block contract: a grid of clusters, one for each run; blocks of a cluster wait for each other, no
// cluster waits for another one. Results are valid when the launch is over. Aliases, bytes moved,
// `parts` and arithmetic are those of single_pass_planes.cu. What F32 could not hold is done again
// for the channels that it happened to alone, and no value reaches a neighbour's sums.

#include "columns.cuh"

// Adds up over a cluster besides, in the order of its blocks, at most twice in a launch.
template <class Units, int kCluster>
struct ColumnMeeting : ColumnSums<Units> {
  using Base = ColumnSums<Units>;
  static constexpr int kElements = 2 * 256 * Units::kElements;  // of all threads, two values each
  static constexpr int kTotals = kCluster > 1 ? 4 * kMostChannels : 1;

  float* const of_threads;
  double* const totals;  // of this block, two of each channel, for each of the two times

  // All threads come. What a thread has of its channel.
  BN_DEVICE void of_lane(const float (&some_p)[Base::E], const float (&some_q)[Base::E], double& p,
                         double& q) const {
    float *const of_p = of_threads, *const of_q = of_threads + kElements / 2;
    Base::put(of_p, some_p);
    Base::put(of_q, some_q);
    __syncthreads();
    p = q = 0;
    Base::of_lane([&](uint32_t place) {
      p += double(of_p[place]);
      q += double(of_q[place]);
    });
  }

  // All threads come. Those that finish a channel get its totals.
  BN_DEVICE void add(int time, double& p, double& q) const {
    this->over_lanes(p, q);
#if BN_CLUSTERS
    if (kCluster > 1) {
      double* const mine = totals + 2 * (time * kMostChannels + this->channel());
      if (this->finishes()) {
        mine[0] = p;
        mine[1] = q;
      }
      cluster_barrier();
      if (this->finishes()) {
        p = q = 0;
        BN_UNROLL_BY(1)
        for (unsigned of = 0; of < kCluster; ++of) {
          const double* const of_block = cluster_peer(mine, of);
          p += of_block[0];
          q += of_block[1];
        }
      }
    }
#endif
  }

  // No block may end before its peers have read its totals.
  static BN_DEVICE void arrive() {
#if BN_CLUSTERS
    if (kCluster > 1) cluster_arrive();
#endif
  }
  static BN_DEVICE void wait() {
#if BN_CLUSTERS
    if (kCluster > 1) cluster_wait();
#endif
  }
};

template <class Format, int kCluster>
BN_DEVICE void cols_forward(const ColumnsForwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = ColumnMeeting<Units, kCluster>;
  constexpr int E = Units::kElements, kHeld = 8;
  BN_SHARED(float, of_threads, Together::kElements);
  BN_SHARED(double, totals, Together::kTotals);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(float, first, kMostChannels);
  BN_SHARED(Found, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const uint32_t rank = rank_in_cluster<kCluster>(), run = blockIdx.x / kCluster;
  const Stand at(w, run, rank);
  Together together{{w, at, rank, again}, of_threads, totals};

  Packed held[kHeld];
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (at.has(w, i)) {
      held[i] = units.once(g.x, at.unit(w, i));
      if (g.residual) prefetch((const Packed*)g.residual + at.unit(w, i));
    }
  }
  ForwardNumbers numbers{};
  if (together.finishes()) {
    const uint32_t mine = together.channel();
    const int64_t channel = int64_t(run) * w.group + mine;
    numbers = ForwardNumbers::of(g, units, channel, channel * w.inner);
    first[mine] = numbers.first;
  }
  __syncthreads();

  const MomentSums<Units> sums{g.x, nullptr};
  double p, q;
  {
    float some_p[E], some_q[E];
    typename MomentSums<Units>::Constants k;
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      some_p[e] = some_q[e] = 0;
      k.k[e] = first[at.channel<E>(w, e)];
    }
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (at.has(w, i)) sums.add(units, k, held[i], 0, some_p, some_q);
    }
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) keep_packed(held[i]);
    together.of_lane(some_p, some_q, p, q);
  }
  finish_channels<Units>(
      w, together, sums, run, p, q,
      [&](int64_t channel, uint32_t in_run, bool in_f64, double of_p, double of_q, bool& exact) {
        find_moments<Units>(g, w, channel, numbers, rank == 0, in_f64, of_p, of_q, found[in_run],
                            exact);
      });
  together.arrive();
  if (!g.parts) {
    const Normalize<float> apply = g.normalize();
    Coefficients<float, E> coefficients;
    set_each(coefficients, w, at, found);
    BN_UNROLL
    for (int i = 0; i < kHeld; i += 2) {
      put_normalized<2>(
          apply, units, coefficients, [&](int j) { return at.has(w, i + j); },
          [&](int j) { return at.unit(w, i + j); }, [&](int j, Packed& x) { x = held[i + j]; });
    }
  }
  together.wait();
}

template <class Format, int kCluster>
BN_DEVICE void cols_backward(const ColumnsBackwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = ColumnMeeting<Units, kCluster>;
  constexpr int E = Units::kElements, kHeld = 4;
  BN_SHARED(float, of_threads, Together::kElements);
  BN_SHARED(double, totals, Together::kTotals);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(FoundSlope, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const uint32_t rank = rank_in_cluster<kCluster>(), run = blockIdx.x / kCluster;
  const Stand at(w, run, rank);
  Together together{{w, at, rank, again}, of_threads, totals};

  typename GradientSums<Units>::Loaded held[kHeld];
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (at.has(w, i)) {
      held[i].x = units.once(g.x, at.unit(w, i));
      held[i].dy = units.once(g.dy, at.unit(w, i));
    }
  }
  const GradientSums<Units> sums = g.sums<Units>();
  const auto find = [&](Coefficients<float, E>& k) {
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const Found f = found_before(sums, int64_t(run) * w.group + at.channel<E>(w, e));
      k.set(e, f.center, f.scale, f.shift);
    }
  };
  double p, q;
  {
    float some_p[E], some_q[E];
    Coefficients<float, E> k;
    find(k);
    BN_UNROLL
    for (int e = 0; e < E; ++e) some_p[e] = some_q[e] = 0;
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (at.has(w, i)) sums.add(units, k, held[i], at.unit(w, i), some_p, some_q);
    }
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      keep_packed(held[i].x);
      keep_packed(held[i].dy);
    }
    together.of_lane(some_p, some_q, p, q);
  }
  finish_channels<Units>(
      w, together, sums, run, p, q,
      [&](int64_t channel, uint32_t in_run, bool in_f64, double of_p, double of_q, bool& exact) {
        find_slopes<Units>(g, w, channel, rank == 0, in_f64, of_p, of_q, found[in_run], exact);
      });
  together.arrive();
  if (!g.parts) {
    from_memory();
    const InputGradient<float> apply = g.gradient();
    InputGradient<float>::Constants<E> k;
    find(k.forward);
    set_each(k, w, at, found);
    BN_UNROLL
    for (int i = 0; i < kHeld; ++i) {
      if (at.has(w, i)) apply.put(units, at.unit(w, i), {held[i].x, held[i].dy}, k);
    }
  }
  together.wait();
}

#define OF_TYPE(ENTRY, type, Format, suffix, cluster)                             \
  ENTRY cols_forward_##type##_##suffix(BN_ARGUMENTS(ColumnsForwardArgs) args) {   \
    cols_forward<Format, cluster>(args);                                          \
  }                                                                               \
  ENTRY cols_backward_##type##_##suffix(BN_ARGUMENTS(ColumnsBackwardArgs) args) { \
    cols_backward<Format, cluster>(args);                                         \
  }
#define OF_EACH_TYPE(ENTRY, suffix, cluster) \
  OF_TYPE(ENTRY, f32, F32, suffix, cluster)  \
  OF_TYPE(ENTRY, f16, F16, suffix, cluster)  \
  OF_TYPE(ENTRY, bf16, BF16, suffix, cluster)

OF_EACH_TYPE(BN_RESIDENT_ENTRY(256, 2), c1, 1)
#if BN_CLUSTERS
OF_EACH_TYPE(BN_CLUSTER_ENTRY(256, 2, 2), c2, 2)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(256, 2, 4), c4, 4)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(256, 2, 8), c8, 8)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(256, 2, 16), c16, 16)
#endif

#undef OF_EACH_TYPE
#undef OF_TYPE
