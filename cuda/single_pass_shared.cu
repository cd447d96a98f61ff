// A training step's half in one pass over the data, where planes are whole vectors of 16 bytes
// (NCHW) and a channel is too large for registers: a cluster of blocks holds it in its shared
// memory, where copies that run beside the threads bring it, takes sums and the result from there,
// and goes on with another channel. With two stages the copies of that run all the while, with one
// they follow the results through the stage. A channel that is too large for a cluster is held by a
// team: G blocks, as many as the launch says, that exchange their sums through global memory.
// Forward and backward are what forward.cu and backward.cu say.
//
//   entry                          block  cluster  KB of a channel, at most (sm_90: 227 KB a block)
//                                                  forward        backward
//   sr_*_f32, _f16, _bf16 _cK      512    K        226 K          113 K        one stage
//                                                  113 K          56.5 K       two stages
//   sg_*_f32, _f16, _bf16 _grid    512    1        likewise with G for K
//
// K is 1, 2, 4, 8 or 16; _c16 takes more than every GPU grants. All exist for sm_90 and newer
// alone. Addresses are multiples of 16, planes whole vectors and, where a forward keeps a gate,
// whole bytes of it; the tensor has less than 2^31 vectors.
//
// Block contract: a grid of clusters or teams, n of which take every n-th channel each;
// dynamic shared memory holds a block's share of x, and in backward of dy, once for each stage.
// Blocks of a cluster or team wait for each other, no cluster or team waits for another one; what
// that asks of a launch of sg_* stands in teams.cuh. What may be what, when results are valid,
// bytes moved, `parts`, the shift of values and sums in F64: as in single_pass_planes.cu.

#include "planes.cuh"
#include "teams.cuh"

#if BN_CLUSTERS

constexpr int kStagedThreads = 512;

// The block's shares of channels, one after another, in one or two stages of shared memory. A turn
// is the number of a channel among those of the cluster.
template <int kTensors>
struct Stages {
  Packed* memory;
  uint64_t* full;  // of each stage: its copies have come
  const Planes& w;
  bool two;
  uint32_t first, count;  // units of the block

  BN_DEVICE Stages(Packed* memory, uint64_t* full, const Planes& w, int64_t stages, uint32_t rank)
      : memory(memory), full(full), w(w), two(stages == 2), first(rank * uint32_t(w.share)) {
    const int rest = int(w.units) - int(first);
    count = rest < 0 ? 0 : rest < int(w.share) ? uint32_t(rest) : uint32_t(w.share);
  }

  BN_DEVICE int stage(int turn) const { return two ? turn & 1 : 0; }
  BN_DEVICE Packed* held(int turn) const {
    return memory + stage(turn) * kTensors * uint32_t(w.share);
  }

  // Before the first copy of a turn; all threads have waited for the turn before in that stage.
  BN_DEVICE void expect(int turn) const {
    if (threadIdx.x == 0) {
      mbarrier_expect(full + stage(turn), kTensors * count * unsigned(sizeof(Packed)));
    }
  }
  // Copies units from one to another of the block; nobody uses their places any more.
  BN_DEVICE void start(int turn, uint32_t channel, const void* const (&tensors)[kTensors],
                       uint32_t from, uint32_t to) const {
    if (to > count) to = count;
    if (threadIdx.x >= 32 || from >= to) return;
    const uint32_t inner = uint32_t(w.inner);
    const uint32_t plane = (first + from) / inner, skipped = first + from - plane * inner;
    BN_UNROLL_BY(1)
    for (uint32_t p = threadIdx.x; p * inner < skipped + to - from; p += 32) {
      // The range in units of the first plane; this lane's part of it.
      const uint32_t low = p == 0 ? skipped : p * inner, high = (p + 1) * inner;
      const uint32_t end = skipped + to - from, units = (end < high ? end : high) - low;
      const uint32_t source =
          ((plane + p) * uint32_t(w.channels) + channel) * inner + low - p * inner;
      BN_UNROLL
      for (int t = 0; t < kTensors; ++t) {
        copy_to_shared(held(turn) + t * uint32_t(w.share) + from + low - skipped,
                       (const Packed*)tensors[t] + source, units * unsigned(sizeof(Packed)),
                       full + stage(turn));
      }
    }
  }
  BN_DEVICE void start(int turn, uint32_t channel, const void* const (&tensors)[kTensors]) const {
    expect(turn);
    start(turn, channel, tensors, 0, count);
  }
  BN_DEVICE void wait(int turn) const {
    mbarrier_wait(full + stage(turn), unsigned(two ? turn >> 1 : turn) & 1);
  }
};

struct NoTeam {};

// Adds up two values of all threads of a cluster, time after time, as Meeting does. Blocks tell
// each other by stores that a barrier counts: one that orders the whole cluster would wait for the
// results of the channel before.
template <int kCluster>
struct Talk {
  static constexpr int kWarpsOfBlock = kStagedThreads / 32;
  static constexpr int kScratch = 2 * kWarpsOfBlock + 4 * kCluster;

  const uint32_t rank, team, teams;
  double* const scratch;
  uint64_t* const come;  // of each of two times: what the blocks tell
  int time = 0;

  BN_DEVICE Talk(double* scratch, uint64_t* come, const NoTeam&)
      : rank(rank_in_cluster<kCluster>()),
        team(blockIdx.x / kCluster),
        teams(gridDim.x / kCluster),
        scratch(scratch),
        come(come) {}
  // Before anything else: peers may tell something to a block that has started.
  static BN_DEVICE void start() {
    if (kCluster > 1) cluster_arrive_relaxed();
  }

  // All threads come. The first warp gets both totals; for the others this is the end of what they
  // wrote to shared memory before. A block tells again only what all others need next, so nobody is
  // more than one time ahead, and two places for each are enough.
  BN_DEVICE void add(int, double& p, double& q) {
    const int lane = int(threadIdx.x) % 32;
    double v = sum_over_block<kStagedThreads>(scratch, p, q);
    if (kCluster > 1 && time == 0) cluster_wait();
    if (threadIdx.x < 32) {
      if (kCluster > 1) {
        const int place = time & 1;
        double* const of_blocks = scratch + 2 * kWarpsOfBlock + 2 * kCluster * place;
        if (lane == 0) mbarrier_expect(come + place, 2 * kCluster * unsigned(sizeof(double)));
        if (lane < 2 * kCluster) {
          store_to_peer(of_blocks + 2 * rank + (lane & 1), v, come + place, unsigned(lane) / 2);
        }
        mbarrier_wait_for_cluster(come + place, unsigned(time) >> 1 & 1);
        v = sum_of_pairs<kCluster>(of_blocks);
      }
      p = __shfl_sync(~0u, v, 0);
      q = __shfl_sync(~0u, v, 1);
    }
    ++time;
  }

  BN_DEVICE void finish() const {}
};

// The same for a team.
struct Gathering : Teammate {
  static constexpr int kScratch = 2 * kStagedThreads / 32;

  const uint32_t teams;
  double* const scratch;
  int time = 0;

  BN_DEVICE Gathering(double* scratch, uint64_t*, const Team& t)
      : Teammate(t), teams(Teammate::teams()), scratch(scratch) {}
  static BN_DEVICE void start() {}

  BN_DEVICE void add(int, double& p, double& q) {
    double v = sum_over_block<kStagedThreads>(scratch, p, q);
    if (threadIdx.x < 32) {
      const int lane = int(threadIdx.x);
      const uint32_t n = 2 * blocks();
      double* const of_blocks = told(4) + n * (time & 1);
      if (lane < 2) store(of_blocks + 2 * rank + lane, v);
      __syncwarp();
      if (lane == 0) meet(time);
      __syncwarp();
      v = 0;
      BN_UNROLL_BY(1)
      for (uint32_t i = lane; i < n; i += 32) v += load_fresh(of_blocks + i);
      BN_UNROLL_BY(1)
      for (int m = 2; m < 32; m *= 2) v += __shfl_xor_sync(~0u, v, m);
      p = __shfl_sync(~0u, v, 0);
      q = __shfl_sync(~0u, v, 1);
    }
    ++time;
  }

  BN_DEVICE void finish() const { leave(); }
};

// Before anything else, by all threads.
BN_DEVICE void start_counting(uint64_t (&counters)[4]) {
  if (threadIdx.x == 0) {
    BN_UNROLL
    for (int i = 0; i < 4; ++i) mbarrier_init(counters + i, 1);
    mbarrier_publish();
  }
  __syncthreads();
}

struct SharedForwardArgs {
  PlanesForwardArgs planes;
  int64_t stages;  // 1 or 2
};
struct TeamForwardArgs : SharedForwardArgs {
  Team team;
};

template <class Format, class Together, class OfTeam>
BN_DEVICE void shared_forward(const SharedForwardArgs& args, const OfTeam& of_team) {
  using Units = VectorsOf<Format>;
  constexpr int E = Units::kElements, kBlock = kStagedThreads, kBatch = 4;
  BN_DYN_SHARED(Packed, memory);
  BN_SHARED(double, scratch, Together::kScratch);
  BN_SHARED(uint64_t, counters, 4);
  BN_SHARED(Told<Found>, told, 1);
  const PlanesForwardArgs& g = args.planes;
  const Planes& w = g.planes;
  const Units units{};
  const uint32_t inner = uint32_t(w.inner), channels = uint32_t(w.channels);
  start_counting(counters);
  Together::start();
  Together together(scratch, counters + 2, of_team);
  const uint32_t rank = together.rank;
  const Stages<1> stages(memory, counters, w, args.stages, rank);
  const void* const data[] = {g.x};
  uint32_t channel = together.team;
  stages.start(0, channel, data);
  const Place<kBlock> start(w, 0, rank, Place<kBlock>::unit_of(w, rank) / inner);
  const int rounds = (int(stages.count) + kBlock - 1) / kBlock;

  const auto numbers = [&](uint32_t of) {
    return ForwardNumbers::of(g, units, of, int64_t(of) * inner * E);
  };
  const MomentSums<Units> sums{g.x, nullptr};
  const Normalize<float> apply = g.normalize();
  ForwardNumbers next_numbers = numbers(channel);
  BN_UNROLL_BY(1)
  for (int turn = 0; channel < channels; ++turn) {
    const ForwardNumbers n = next_numbers;
    const uint32_t next = channel + together.teams;
    const bool follow = !stages.two && next < channels;
    if (next < channels) {
      if (stages.two) stages.start(turn + 1, next, data);
      next_numbers = numbers(next);
    }
    stages.wait(turn);
    const Packed* const held = stages.held(turn) + threadIdx.x;

    float some_p[4] = {0, 0, 0, 0}, some_q[4] = {0, 0, 0, 0};
    typename MomentSums<Units>::Constants k;
    BN_UNROLL
    for (int e = 0; e < E; ++e) k.k[e] = n.first;
    BN_UNROLL_BY(4)
    for (int i = 0; i < start.left; i += kBlock) {
      sums.add(units, k, held[i], 0, some_p, some_q);
    }
    Place<kBlock> at = start;
    at.address += channel * inner;
    finish_channel<Units>(
        w, together, sums, channel, sum_of(some_p), sum_of(some_q), told->exact, [&] { return at; },
        [&](bool in_f64, double p, double q) {
          find_moments<Units>(g, w, channel, n, rank == 0, in_f64, p, q, told->found, told->exact);
        });
    if (follow) stages.expect(turn + 1);
    Coefficients<float, E> coefficients;
    if (!g.parts) set_all(coefficients, told->found);
    BN_UNROLL_BY(1)
    for (int i = 0; i < rounds; i += kBatch) {
      if (!g.parts) {
        uint32_t address[kBatch];
        at.next(w, address);
        put_normalized<kBatch>(
            apply, units, coefficients, [&](int j) { return start.has(i + j); },
            [&](int j) { return address[j]; },
            [&](int j, Packed& x) {
              if (start.has(i + j)) x = held[(i + j) * kBlock];
            });
      }
      if (follow) {
        __syncthreads();
        stages.start(turn + 1, next, data, i * kBlock, (i + kBatch) * kBlock);
      }
    }
    if (!follow) __syncthreads();
    channel = next;
  }
  together.finish();
}

struct SharedBackwardArgs {
  PlanesBackwardArgs planes;
  int64_t stages;  // 1 or 2
};
struct TeamBackwardArgs : SharedBackwardArgs {
  Team team;
};

template <class Format, class Together, class OfTeam>
BN_DEVICE void shared_backward(const SharedBackwardArgs& args, const OfTeam& of_team) {
  using Units = VectorsOf<Format>;
  constexpr int E = Units::kElements, kBlock = kStagedThreads, kBatch = 2;
  BN_DYN_SHARED(Packed, memory);
  BN_SHARED(double, scratch, Together::kScratch);
  BN_SHARED(uint64_t, counters, 4);
  BN_SHARED(Told<FoundSlope>, told, 1);
  const PlanesBackwardArgs& g = args.planes;
  const Planes& w = g.planes;
  const Units units{};
  const uint32_t inner = uint32_t(w.inner), channels = uint32_t(w.channels);
  start_counting(counters);
  Together::start();
  Together together(scratch, counters + 2, of_team);
  const uint32_t rank = together.rank;
  const Stages<2> stages(memory, counters, w, args.stages, rank);
  const void* const data[] = {g.x, g.dy};
  uint32_t channel = together.team;
  stages.start(0, channel, data);
  const Place<kBlock> start(w, 0, rank, Place<kBlock>::unit_of(w, rank) / inner);
  const int rounds = (int(stages.count) + kBlock - 1) / kBlock;

  const GradientSums<Units> sums = g.sums<Units>();
  const InputGradient<float> apply = g.gradient();
  Found next_numbers = found_before(sums, channel);
  BN_UNROLL_BY(1)
  for (int turn = 0; channel < channels; ++turn) {
    InputGradient<float>::Constants<E> k;
    set_all(k.forward, next_numbers);
    const uint32_t next = channel + together.teams;
    const bool follow = !stages.two && next < channels;
    if (next < channels) {
      if (stages.two) stages.start(turn + 1, next, data);
      next_numbers = found_before(sums, next);
    }
    stages.wait(turn);
    const Packed* const held_x = stages.held(turn) + threadIdx.x;
    const Packed* const held_dy = held_x + uint32_t(w.share);
    Place<kBlock> first = start;
    first.address += channel * inner;

    float some_p[4] = {0, 0, 0, 0}, some_q[4] = {0, 0, 0, 0};
    Place<kBlock> at = first;
    BN_UNROLL_BY(2)
    for (int i = 0; i < start.left; i += kBlock) {
      sums.add(units, k.forward, {held_x[i], held_dy[i]}, at.address, some_p, some_q);
      at.advance(w);
    }
    finish_channel<Units>(
        w, together, sums, channel, sum_of(some_p), sum_of(some_q), told->exact,
        [&] { return first; },
        [&](bool in_f64, double p, double q) {
          find_slopes<Units>(g, w, channel, rank == 0, in_f64, p, q, told->found, told->exact);
        });
    if (follow) stages.expect(turn + 1);
    if (!g.parts) set_all(k, told->found);
    at = first;
    BN_UNROLL_BY(1)
    for (int i = 0; i < rounds; i += kBatch) {
      if (!g.parts) {
        BN_UNROLL
        for (int j = i; j < i + kBatch; ++j) {
          if (start.has(j)) {
            apply.put(units, at.address, {held_x[j * kBlock], held_dy[j * kBlock]}, k);
          }
          at.advance(w);
        }
      }
      if (follow) {
        __syncthreads();
        stages.start(turn + 1, next, data, i * kBlock, (i + kBatch) * kBlock);
      }
    }
    if (!follow) __syncthreads();
    channel = next;
  }
  together.finish();
}

#define OF_TYPE(ENTRY, type, Format, cluster)                                    \
  ENTRY sr_forward_##type##_c##cluster(BN_ARGUMENTS(SharedForwardArgs) args) {   \
    shared_forward<Format, Talk<cluster>>(args, NoTeam{});                       \
  }                                                                              \
  ENTRY sr_backward_##type##_c##cluster(BN_ARGUMENTS(SharedBackwardArgs) args) { \
    shared_backward<Format, Talk<cluster>>(args, NoTeam{});                      \
  }
#define OF_EACH_TYPE(ENTRY, cluster) \
  OF_TYPE(ENTRY, f32, F32, cluster)  \
  OF_TYPE(ENTRY, f16, F16, cluster)  \
  OF_TYPE(ENTRY, bf16, BF16, cluster)

OF_EACH_TYPE(BN_RESIDENT_ENTRY(kStagedThreads, 1), 1)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(kStagedThreads, 1, 2), 2)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(kStagedThreads, 1, 4), 4)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(kStagedThreads, 1, 8), 8)
OF_EACH_TYPE(BN_CLUSTER_ENTRY(kStagedThreads, 1, 16), 16)

#define OF_TEAM(type, Format)                                      \
  BN_RESIDENT_ENTRY(kStagedThreads, 1)                             \
  sg_forward_##type##_grid(BN_ARGUMENTS(TeamForwardArgs) args) {   \
    shared_forward<Format, Gathering>(args, args.team);            \
  }                                                                \
  BN_RESIDENT_ENTRY(kStagedThreads, 1)                             \
  sg_backward_##type##_grid(BN_ARGUMENTS(TeamBackwardArgs) args) { \
    shared_backward<Format, Gathering>(args, args.team);           \
  }
OF_TEAM(f32, F32)
OF_TEAM(f16, F16)
OF_TEAM(bf16, BF16)

#undef OF_TEAM
#undef OF_EACH_TYPE
#undef OF_TYPE

#endif
