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

#include "single_pass.cuh"

constexpr int kMostChannels = 64;  // of a run

// How rows are cut, in vectors but where it says otherwise.
struct Rows {
  int64_t rows;
  int64_t share;                   // rows of a block; the last ones may have fewer or none
  int64_t stride;                  // of a row
  int64_t run;                     // of a run
  int64_t abreast;                 // rows that the threads of a block take side by side
  int64_t group;                   // channels of a run
  int64_t lanes;                   // threads that add up a channel, a power of two up to 32
  int64_t inner;                   // elements of a plane
  int64_t channels;                // of a row
  int64_t magic_run, magic_inner;  // 2^32 / run and 2^32 / inner, rounded up
  int64_t values;                  // of a channel
  double per_value;                // 1 / values
};

BN_DEVICE uint32_t quotient_of(uint32_t n, int64_t magic) {
  return uint32_t(uint64_t(n) * uint64_t(magic) >> 32);
}

// Where a thread stands: at the same place of the run in all of its rows, so that its elements
// have the same channels.
struct Stand {
  uint32_t address;   // of its first vector
  uint32_t position;  // in the run
  uint32_t channels;  // of the run
  int first, rows;    // its first row of the block, and rows of the block

  BN_DEVICE Stand(const Rows& w, uint32_t run, uint32_t rank) {
    const uint32_t row = quotient_of(threadIdx.x, w.magic_run), in_row = run * uint32_t(w.run);
    position = threadIdx.x - row * uint32_t(w.run);
    const uint32_t left = uint32_t(w.channels) - run * uint32_t(w.group);
    channels = left < uint32_t(w.group) ? left : uint32_t(w.group);
    // Threads too many for whole rows, or beyond the end of a row, have none.
    const bool idle = row >= uint32_t(w.abreast) || in_row + position >= uint32_t(w.stride);
    first = idle ? int(w.share) : int(row);
    const int64_t rest = w.rows - int64_t(rank) * w.share;
    rows = int(rest < w.share ? rest : w.share);
    address = (rank * uint32_t(w.share) + row) * uint32_t(w.stride) + in_row + position;
  }
  // Whether the thread has an i-th vector, and where that is.
  BN_DEVICE bool has(const Rows& w, int i) const { return first + i * int(w.abreast) < rows; }
  BN_DEVICE uint32_t unit(const Rows& w, int i) const {
    return address + uint32_t(i) * uint32_t(w.abreast * w.stride);
  }
  // Of the run, the channel of the e-th element; the first for an idle thread.
  template <int E>
  BN_DEVICE uint32_t channel(const Rows& w, int e) const {
    const uint32_t c = quotient_of(position * E + uint32_t(e), w.magic_inner);
    return c < channels ? c : 0;
  }
};

// Adds up a run's channels over a cluster, at most twice in a launch, in F64 and in a fixed order:
// the rows of a thread in F32, then the elements of a channel by `lanes` threads, these, blocks.
// The first of the threads of a channel finishes it.
template <class Units, int kCluster>
struct ColumnMeeting {
  static constexpr int E = Units::kElements;
  static constexpr int kElements = 256 * E;
  static constexpr int kTotals = kCluster > 1 ? 4 * kMostChannels : 1;

  const Rows& w;
  const Stand& at;
  float* of_p;  // of all elements of all threads
  float* of_q;
  double* totals;  // of this block, two of each channel, for each of the two times
  int* again;      // not 0: F32 could not hold the channel

  BN_DEVICE uint32_t channel() const { return threadIdx.x / uint32_t(w.lanes); }
  BN_DEVICE uint32_t lane() const { return threadIdx.x % uint32_t(w.lanes); }
  BN_DEVICE bool finishes() const { return lane() == 0 && channel() < at.channels; }

  // All threads come: each with the sums of its elements over its rows.
  BN_DEVICE void put(const float (&p)[E], const float (&q)[E]) const {
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      of_p[threadIdx.x * E + e] = p[e];
      of_q[threadIdx.x * E + e] = q[e];
    }
    __syncthreads();
  }

  // What the calling thread adds of its channel.
  BN_DEVICE void of_lane(double& p, double& q) const {
    p = q = 0;
    const uint32_t inner = uint32_t(w.inner);
    const uint32_t all = channel() < at.channels ? inner * uint32_t(w.abreast) : 0;
    BN_UNROLL_BY(1)
    for (uint32_t i = lane(); i < all; i += uint32_t(w.lanes)) {
      const uint32_t row = quotient_of(i, w.magic_inner);
      const uint32_t element = row * uint32_t(w.run) * E + channel() * inner + (i - row * inner);
      p += double(of_p[element]);
      q += double(of_q[element]);
    }
  }
  // The same for channels that are done again: `add` gets elements of the tensor.
  template <class Add>
  BN_DEVICE void of_lane_again(uint32_t run, uint32_t rank, const Add& add) const {
    if (channel() >= at.channels || !again[channel()]) return;
    const uint32_t inner = uint32_t(w.inner);
    BN_UNROLL_BY(1)
    for (int row = 0; row < at.rows; ++row) {
      const int64_t first = (int64_t(rank) * w.share + row) * w.stride + int64_t(run) * w.run;
      BN_UNROLL_BY(1)
      for (uint32_t i = lane(); i < inner; i += uint32_t(w.lanes)) {
        add(first * E + channel() * inner + i);
      }
    }
  }

  // All threads come. Those that finish a channel get its totals.
  BN_DEVICE void add(int time, double& p, double& q) const {
    BN_UNROLL_BY(1)
    for (int m = 1; m < int(w.lanes); m *= 2) {
      p += __shfl_xor_sync(~0u, p, m);
      q += __shfl_xor_sync(~0u, q, m);
    }
#if BN_CLUSTERS
    if (kCluster > 1) {
      double* const mine = totals + 2 * (time * kMostChannels + channel());
      if (finishes()) {
        mine[0] = p;
        mine[1] = q;
      }
      cluster_barrier();
      if (finishes()) {
        p = q = 0;
        BN_UNROLL_BY(1)
        for (unsigned rank = 0; rank < kCluster; ++rank) {
          const double* const of_block = cluster_peer(mine, rank);
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

// Per channel of the run, for the elements.
struct Found {
  float center, scale, shift;
};
struct FoundSlope {
  float slope, offset;
};

struct ColumnsForwardArgs {
  const void *x, *residual;  // the second one null: none
  void* y;
  uint8_t* gate;  // null: none
  double* parts;  // not null: mean and M2 of each channel go here, and that is all
  SavedOut saved;
  int64_t relu;
  Rows rows;
};

template <class Format, int kCluster>
BN_DEVICE void cols_forward(const ColumnsForwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = ColumnMeeting<Units, kCluster>;
  constexpr int E = Units::kElements, kHeld = 8;
  BN_SHARED(float, of_p, Together::kElements);
  BN_SHARED(float, of_q, Together::kElements);
  BN_SHARED(double, totals, Together::kTotals);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(float, first, kMostChannels);
  BN_SHARED(Found, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const uint32_t rank = rank_in_cluster<kCluster>(), run = blockIdx.x / kCluster;
  const Stand at(w, run, rank);
  const Together together{w, at, of_p, of_q, totals, again};

  Packed held[kHeld];
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (at.has(w, i)) {
      held[i] = units.once(g.x, at.unit(w, i));
      if (g.residual) prefetch((const Packed*)g.residual + at.unit(w, i));
    }
  }
  const uint32_t mine = together.channel();
  const int64_t channel = int64_t(run) * w.group + mine, top = channel * w.inner;
  if (together.finishes()) first[mine] = units.get(g.x, top);
  __syncthreads();

  const MomentSums<Units> sums{g.x, nullptr};
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
    together.put(some_p, some_q);
  }
  double p, q;
  together.of_lane(p, q);
  BN_UNROLL_BY(1)
  for (int time = 0; time < 2; ++time) {
    together.add(time, p, q);
    bool exact = true;
    if (together.finishes() && (time == 0 || again[mine])) {
      const double shift = p * w.per_value, m2 = q - p * shift;
      exact = time > 0 || sums.f32_held(p, q, m2);
      if (time == 0) again[mine] = !exact;
      const double mean = double(first[mine]) + shift, rest = m2 < 0 ? 0 : m2;
      if (g.parts) {
        if (rank == 0) {
          g.parts[2 * channel] = mean;
          g.parts[2 * channel + 1] = rest;
        }
      } else {
        const Coefficient narrow{false};
        const double gamma = narrow.get(g.saved.gamma, channel, 1);
        const double beta = narrow.get(g.saved.beta, channel, 0);
        const SavedOut::Numbers n = g.saved.numbers(gamma, beta, mean, rest / double(w.values));
        if (rank == 0) {
          g.saved.put(channel, n);
          if (channel == 0) g.saved.put_count(w.values);
        }
        found[mine] = {float(n.center), float(n.scale), float(n.shift)};
      }
    }
    if (!__syncthreads_or(!exact)) break;
    p = q = 0;
    together.of_lane_again(
        run, rank, [&](int64_t element) { sums.add_exactly(units, channel, top, element, p, q); });
  }
  together.arrive();
  if (!g.parts) {
    const Normalize<float> apply{g.x,     g.residual, g.y,     g.gate,
                                 nullptr, nullptr,    nullptr, g.relu != 0};
    Coefficients<float, E> coefficients;
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const Found& f = found[at.channel<E>(w, e)];
      coefficients.set(e, f.center, f.scale, f.shift);
    }
    BN_UNROLL
    for (int i = 0; i < kHeld; i += 2) {
      Normalize<float>::Loaded<Units> in[2];
      BN_UNROLL
      for (int j = 0; j < 2; ++j) {
        in[j].x = held[i + j];
        if (g.residual && at.has(w, i + j)) {
          in[j].residual = units.once(g.residual, at.unit(w, i + j));
        }
      }
      BN_UNROLL
      for (int j = 0; j < 2; ++j) {
        const bool on = at.has(w, i + j);
        const uint32_t unit = at.unit(w, i + j);
        const unsigned bits = on ? apply.put(units, unit, in[j], coefficients) : 0;
        apply.put_gate<E>(unit, bits, on);
      }
    }
  }
  together.wait();
}

struct ColumnsBackwardArgs {
  const void *x, *dy;
  void *dx, *residual;  // the gradient of the residual null: none
  const uint8_t* gate;  // null: none kept
  const void* shift;
  double* parts;   // not null: the two sums of each channel go here, and that is all
  double* packed;  // sums of dy, sums of dy xhat
  SlopesOut slopes;
  int64_t relu;
  Rows rows;
};

template <class Format, int kCluster>
BN_DEVICE void cols_backward(const ColumnsBackwardArgs& g) {
  using Units = VectorsOf<Format>;
  using Together = ColumnMeeting<Units, kCluster>;
  constexpr int E = Units::kElements, kHeld = 4;
  BN_SHARED(float, of_p, Together::kElements);
  BN_SHARED(float, of_q, Together::kElements);
  BN_SHARED(double, totals, Together::kTotals);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(FoundSlope, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const uint32_t rank = rank_in_cluster<kCluster>(), run = blockIdx.x / kCluster;
  const Stand at(w, run, rank);
  const Together together{w, at, of_p, of_q, totals, again};

  typename GradientSums<Units>::Loaded held[kHeld];
  BN_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    if (at.has(w, i)) {
      held[i].x = units.once(g.x, at.unit(w, i));
      held[i].dy = units.once(g.dy, at.unit(w, i));
    }
  }
  const float* const center = (const float*)g.slopes.center;
  const float* const scale = (const float*)g.slopes.scale;
  const float* const shift = (const float*)g.shift;
  const uint32_t mine = together.channel();
  const int64_t channel = int64_t(run) * w.group + mine;
  const auto find = [&](Coefficients<float, E>& k) {
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const int64_t c = int64_t(run) * w.group + at.channel<E>(w, e);
      k.set(e, load_shared_by_many(center + c), load_shared_by_many(scale + c),
            load_shared_by_many(shift + c));
    }
  };
  const GradientSums<Units> sums{g.x, g.dy, g.gate, center, scale, shift, g.relu != 0, nullptr};
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
    together.put(some_p, some_q);
  }
  double p, q;
  together.of_lane(p, q);
  BN_UNROLL_BY(1)
  for (int time = 0; time < 2; ++time) {
    together.add(time, p, q);
    bool exact = true;
    if (together.finishes() && (time == 0 || again[mine])) {
      exact = time > 0 || sums.f32_held(p, q);
      if (time == 0) again[mine] = !exact;
      if (g.parts) {
        if (rank == 0) {
          g.parts[2 * channel] = p;
          g.parts[2 * channel + 1] = q;
        }
      } else {
        const SlopesOut::Kept kept = g.slopes.kept(channel);
        const double dy_xhat = kept.against_xhat(p, q), slope = kept.slope(dy_xhat);
        if (rank == 0) {
          g.packed[channel] = p;
          g.packed[w.channels + channel] = dy_xhat;
        }
        found[mine] = {float(slope), float(kept.offset(p, slope))};
      }
    }
    if (!__syncthreads_or(!exact)) break;
    p = q = 0;
    together.of_lane_again(
        run, rank, [&](int64_t element) { sums.add_exactly(units, channel, 0, element, p, q); });
  }
  together.arrive();
  if (!g.parts) {
    from_memory();
    const InputGradient<float> apply{g.x,     g.dy,    g.dx,    g.residual, g.gate,     nullptr,
                                     nullptr, nullptr, nullptr, nullptr,    g.relu != 0};
    InputGradient<float>::Constants<E> k;
    find(k.forward);
    BN_UNROLL
    for (int e = 0; e < E; ++e) {
      const FoundSlope& f = found[at.channel<E>(w, e)];
      k.set(e, f.slope, f.offset);
    }
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
