// A training step's half in one pass over the data, where planes are no whole vectors of 16 bytes
// or single elements (channels last), and a run of neighbouring channels, as in
// single_pass_columns.cu, is too large for a cluster: a team of G blocks, as many as the launch
// says, holds the run's rows in shared memory, exchanges sums through global memory, and goes on
// with another run. Forward and backward are what forward.cu and backward.cu say.
//
//   entry                            block  rows, at most, of a run of u vectors, with R = `rounds`
//   cg_*_f32, _f16, _bf16     _grid  512    G R floor(512 / u)
//                                           R is 26 forward, 13 backward, where a block has 227 KB
//
// Exist for sm_90 and newer alone. A thread copies its vectors of a run to shared memory that is
// its own, so that nobody waits for copies: those of the next run take the places of results as
// these leave, four vectors of a thread at a time (backward two of each tensor; in 16 bits half as
// many).
//
// Block contract: a grid of teams, n of which take every n-th run each; dynamic shared memory holds
// `rounds` vectors of each thread, and in backward two for each. What teams ask of a launch stands
// in teams.cuh; a block tells four values of each of kMostChannels. Addresses, aliases, bytes
// moved, gates, `parts` and arithmetic are those of single_pass_columns.cu, runs fewer than 2^20.

#include "columns.cuh"
#include "teams.cuh"

#if BN_CLUSTERS

constexpr int kTeamThreads = 512;

// What a thread has of a run: a vector of each of its rows in each tensor.
template <int kTensors, int kBatch>
struct Holding {
  Packed* const mine;
  const int rounds;

  // Some of another run on their way.
  struct Coming {
    Packed of[kTensors][kBatch];
  };

  BN_DEVICE Packed& get(int tensor, int i) const {
    return mine[(tensor * rounds + i) * kTeamThreads];
  }
  BN_DEVICE void start(Coming& coming, const Rows& w, const Stand& of,
                       const void* const (&tensors)[kTensors], int i) const {
    BN_UNROLL
    for (int j = 0; j < kBatch; ++j) {
      if (!of.has(w, i + j)) continue;
      BN_UNROLL
      for (int t = 0; t < kTensors; ++t) {
        coming.of[t][j] = load_once((const Packed*)tensors[t] + of.unit(w, i + j));
      }
    }
  }
  BN_DEVICE void keep(const Coming& coming, const Rows& w, const Stand& of, int i) const {
    BN_UNROLL
    for (int j = 0; j < kBatch; ++j) {
      if (!of.has(w, i + j)) continue;
      BN_UNROLL
      for (int t = 0; t < kTensors; ++t) get(t, i + j) = coming.of[t][j];
    }
  }
  // All of the first run.
  BN_DEVICE void fill(const Rows& w, const Stand& of,
                      const void* const (&tensors)[kTensors]) const {
    Coming coming;
    BN_UNROLL_BY(1)
    for (int i = 0; i < rounds; i += kBatch) {
      start(coming, w, of, tensors, i);
      keep(coming, w, of, i);
    }
  }
  // The first of them come to L2 while the team meets.
  BN_DEVICE void prefetch_first(const Rows& w, const Stand& of,
                                const void* const (&tensors)[kTensors]) const {
    BN_UNROLL
    for (int j = 0; j < kBatch; ++j) {
      if (!of.has(w, j)) continue;
      BN_UNROLL
      for (int t = 0; t < kTensors; ++t) prefetch((const Packed*)tensors[t] + of.unit(w, j));
    }
  }
};

// Adds up over a team besides, in the order of its blocks.
template <class Units>
struct TeamOfColumns : ColumnSums<Units> {
  using Base = ColumnSums<Units>;

  const Teammate& mate;
  float* const of_threads;
  int times = 0;

  BN_DEVICE TeamOfColumns(const Rows& w, const Stand& at, int* again, float* of_threads,
                          const Teammate& mate)
      : Base{w, at, mate.rank, again}, mate(mate), of_threads(of_threads) {}

  // All threads come. What a thread has of its channel.
  BN_DEVICE double of_lane(const float (&v)[Base::E]) const {
    double sum = 0;
    __syncthreads();
    Base::put(of_threads, v);
    __syncthreads();
    Base::of_lane([&](uint32_t place) { sum += double(of_threads[place]); });
    return sum;
  }

  // All threads come. Those that finish a channel get its totals.
  BN_DEVICE void add(int, double& p, double& q) {
    const uint32_t blocks = mate.blocks();
    // Blocks side by side for each channel.
    double* const of_blocks =
        mate.told(4 * kMostChannels) + 2 * blocks * ((times & 1) * kMostChannels + this->channel());
    this->over_lanes(p, q);
    if (this->finishes()) {
      store(of_blocks + 2 * mate.rank, p);
      store(of_blocks + 2 * mate.rank + 1, q);
    }
    __syncthreads();
    if (threadIdx.x == 0) mate.meet(times);
    __syncthreads();
    ++times;
    p = q = 0;
    if (this->channel() < this->at.channels) {
      BN_UNROLL_BY(4)
      for (uint32_t i = this->lane(); i < blocks; i += uint32_t(this->w.lanes)) {
        p += load_fresh(of_blocks + 2 * i);
        q += load_fresh(of_blocks + 2 * i + 1);
      }
    }
    this->over_lanes(p, q);
  }
};

struct TeamColumnsForwardArgs : ColumnsForwardArgs {
  int64_t rounds;  // vectors of a thread
  Team team;
};

template <class Format>
BN_DEVICE void cg_forward(const TeamColumnsForwardArgs& g) {
  using Units = VectorsOf<Format>;
  // Numbers of eight channels leave registers for fewer vectors at a time.
  constexpr int E = Units::kElements, kBatch = E == 8 ? 2 : 4;
  using Held = Holding<1, kBatch>;
  BN_DYN_SHARED(Packed, memory);
  BN_SHARED(float, of_threads, kTeamThreads* E);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(ForwardNumbers, numbers, 2 * kMostChannels);  // of this run and of the next one
  BN_SHARED(Found, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const int rounds = int(g.rounds);
  const uint32_t group = uint32_t(w.group), channels = uint32_t(w.channels);
  const Teammate mate(g.team);
  uint32_t run = mate.team;
  Stand at(w, run, mate.rank);
  TeamOfColumns<Units> together(w, at, again, of_threads, mate);
  const Held held{memory + threadIdx.x, rounds};
  const void* const data[] = {g.x};
  held.fill(w, at, data);
  // Of the thread's channel in a run.
  const uint32_t mine = together.channel();
  const bool ends = together.lane() == 0 && mine < group;
  const auto numbers_of = [&](uint32_t of_run) {
    const uint32_t channel = of_run * group + mine;
    return ends && channel < channels ? ForwardNumbers::of(g, units, channel, channel * w.inner)
                                      : ForwardNumbers{0, 0, 0};
  };
  const MomentSums<Units> sums{g.x, nullptr};
  const Normalize<float> apply = g.normalize();
  if (ends) numbers[mine] = numbers_of(run);
  __syncthreads();
  BN_UNROLL_BY(1)
  for (int turn = 0; run * group < channels; ++turn) {
    ForwardNumbers* const of_run = numbers + (turn & 1) * kMostChannels;
    ForwardNumbers* const of_next = numbers + (~turn & 1) * kMostChannels;
    float some_p[E], some_q[E];
    {
      typename MomentSums<Units>::Constants k;
      BN_UNROLL
      for (int e = 0; e < E; ++e) {
        some_p[e] = some_q[e] = 0;
        k.k[e] = of_run[at.channel<E>(w, e)].first;
      }
      BN_UNROLL_BY(4)
      for (int i = 0; at.has(w, i); ++i) sums.add(units, k, held.get(0, i), 0, some_p, some_q);
    }
    const uint32_t next_run = run + mate.teams();
    const Stand next(w, next_run, mate.rank);
    const ForwardNumbers next_numbers = numbers_of(next_run);
    held.prefetch_first(w, next, data);
    const double p = together.of_lane(some_p), q = together.of_lane(some_q);
    if (ends) of_next[mine] = next_numbers;
    finish_channels<Units>(
        w, together, sums, run, p, q,
        [&](int64_t channel, uint32_t in_run, bool in_f64, double of_p, double of_q, bool& exact) {
          find_moments<Units>(g, w, channel, of_run[in_run], mate.rank == 0, in_f64, of_p, of_q,
                              found[in_run], exact);
        });
    Coefficients<float, E> coefficients;
    if (!g.parts) set_each(coefficients, w, at, found);
    BN_UNROLL_BY(1)
    for (int i = 0; i < rounds; i += kBatch) {
      typename Held::Coming coming;
      held.start(coming, w, next, data, i);
      if (!g.parts) {
        BN_UNROLL
        for (int j = 0; j < kBatch; j += 2) {
          // As put_normalized() does, by which the compiler spills here.
          Normalize<float>::Loaded<Units> in[2];
          BN_UNROLL
          for (int k = 0; k < 2; ++k) {
            if (!at.has(w, i + j + k)) continue;
            in[k].x = held.get(0, i + j + k);
            if (g.residual) in[k].residual = units.once(g.residual, at.unit(w, i + j + k));
          }
          BN_UNROLL
          for (int k = 0; k < 2; ++k) {
            const bool on = at.has(w, i + j + k);
            const uint32_t unit = at.unit(w, i + j + k);
            const unsigned bits = on ? apply.put(units, unit, in[k], coefficients) : 0;
            apply.put_gate<E>(unit, bits, on);
          }
        }
      }
      held.keep(coming, w, next, i);
    }
    at = next;
    run = next_run;
  }
  mate.leave();
}

struct TeamColumnsBackwardArgs : ColumnsBackwardArgs {
  int64_t rounds;  // vectors of a thread in each tensor
  Team team;
};

template <class Format>
BN_DEVICE void cg_backward(const TeamColumnsBackwardArgs& g) {
  using Units = VectorsOf<Format>;
  constexpr int E = Units::kElements, kBatch = E == 8 ? 1 : 2;
  using Held = Holding<2, kBatch>;
  BN_DYN_SHARED(Packed, memory);
  BN_SHARED(float, of_threads, kTeamThreads* E);
  BN_SHARED(int, again, kMostChannels);
  BN_SHARED(Found, numbers, 2 * kMostChannels);  // of this run and of the next one
  BN_SHARED(FoundSlope, found, kMostChannels);
  const Units units{};
  const Rows& w = g.rows;
  const int rounds = int(g.rounds);
  const uint32_t group = uint32_t(w.group), channels = uint32_t(w.channels);
  const Teammate mate(g.team);
  uint32_t run = mate.team;
  Stand at(w, run, mate.rank);
  TeamOfColumns<Units> together(w, at, again, of_threads, mate);
  const Held held{memory + threadIdx.x, rounds};
  const void* const data[] = {g.x, g.dy};
  held.fill(w, at, data);
  const GradientSums<Units> sums = g.sums<Units>();
  // Of the thread's channel in a run.
  const uint32_t mine = together.channel();
  const bool ends = together.lane() == 0 && mine < group;
  const auto numbers_of = [&](uint32_t of_run) {
    const uint32_t channel = of_run * group + mine;
    return ends && channel < channels ? found_before(sums, channel) : Found{0, 0, 0};
  };
  const InputGradient<float> apply = g.gradient();
  if (ends) numbers[mine] = numbers_of(run);
  __syncthreads();
  BN_UNROLL_BY(1)
  for (int turn = 0; run * group < channels; ++turn) {
    Found* const of_run = numbers + (turn & 1) * kMostChannels;
    Found* const of_next = numbers + (~turn & 1) * kMostChannels;
    float some_p[E], some_q[E];
    {
      Coefficients<float, E> k;
      set_each(k, w, at, of_run);
      BN_UNROLL
      for (int e = 0; e < E; ++e) some_p[e] = some_q[e] = 0;
      BN_UNROLL_BY(kBatch)
      for (int i = 0; at.has(w, i); ++i) {
        sums.add(units, k, {held.get(0, i), held.get(1, i)}, at.unit(w, i), some_p, some_q);
      }
    }
    const uint32_t next_run = run + mate.teams();
    const Stand next(w, next_run, mate.rank);
    const Found next_numbers = numbers_of(next_run);
    held.prefetch_first(w, next, data);
    const double p = together.of_lane(some_p), q = together.of_lane(some_q);
    if (ends) of_next[mine] = next_numbers;
    finish_channels<Units>(
        w, together, sums, run, p, q,
        [&](int64_t channel, uint32_t in_run, bool in_f64, double of_p, double of_q, bool& exact) {
          find_slopes<Units>(g, w, channel, mate.rank == 0, in_f64, of_p, of_q, found[in_run],
                             exact);
        });
    InputGradient<float>::Constants<E> k;
    if (!g.parts) {
      set_each(k.forward, w, at, of_run);
      set_each(k, w, at, found);
    }
    BN_UNROLL_BY(1)
    for (int i = 0; i < rounds; i += kBatch) {
      typename Held::Coming coming;
      held.start(coming, w, next, data, i);
      if (!g.parts) {
        BN_UNROLL
        for (int j = i; j < i + kBatch; ++j) {
          if (at.has(w, j)) {
            apply.put(units, at.unit(w, j), {held.get(0, j), held.get(1, j)}, k);
          }
        }
      }
      held.keep(coming, w, next, i);
    }
    at = next;
    run = next_run;
  }
  mate.leave();
}

#define OF_TYPE(type, Format)                                             \
  BN_RESIDENT_ENTRY(kTeamThreads, 1)                                      \
  cg_forward_##type##_grid(BN_ARGUMENTS(TeamColumnsForwardArgs) args) {   \
    cg_forward<Format>(args);                                             \
  }                                                                       \
  BN_RESIDENT_ENTRY(kTeamThreads, 1)                                      \
  cg_backward_##type##_grid(BN_ARGUMENTS(TeamColumnsBackwardArgs) args) { \
    cg_backward<Format>(args);                                            \
  }
OF_TYPE(f32, F32)
OF_TYPE(f16, F16)
OF_TYPE(bf16, BF16)

#undef OF_TYPE

#endif
