// The emulator's own test: kernels with one planted fault each (bad_*), and their sound twins
// (good_*). Every one is launched with 4 blocks of 64 threads on a buffer of 8192 zeros and, behind
// them, 1024 floats that nobody wrote; n is 40. What each must be caught as: self_test.cpp.

#include "portable.cuh"

struct Args {
  float* p;
  unsigned* words;  // 1024 zeros
  int64_t n;
};

#define KERNEL(name) BN_ENTRY(64) name(const Args g)
#define ME int(threadIdx.x)
#define HERE int(blockIdx.x * 64 + threadIdx.x)

// ---- barriers ----

KERNEL(good_reverse) {
  BN_SHARED(float, s, 64);
  s[ME] = float(ME);
  __syncthreads();
  g.p[HERE] = s[63 - ME];
}
KERNEL(bad_missing_barrier) {
  BN_SHARED(float, s, 64);
  s[ME] = float(ME);
  g.p[HERE] = s[63 - ME];
}
KERNEL(bad_second_barrier_missing) {
  BN_SHARED(float, s, 64);
  s[ME] = float(ME);
  __syncthreads();
  const float v = s[63 - ME];
  s[ME] = v + 1;
  g.p[HERE] = v;
}
KERNEL(bad_divergent_barrier) {
  if (ME < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  g.p[HERE] = 1;
}
KERNEL(bad_ended_before_barrier) {
  if (ME >= g.n) return;
  __syncthreads();
  g.p[HERE] = 1;
}
KERNEL(good_vote_of_block) { g.p[HERE] = float(__syncthreads_count(ME < g.n)); }

// ---- warps ----

KERNEL(good_shuffles) {
  float v = float(ME);
  for (int lanes = 16; lanes > 0; lanes /= 2) v += __shfl_xor_sync(~0u, v, lanes);
  v += __shfl_down_sync(~0u, v, 1) + __shfl_up_sync(~0u, v, 1, 8) + __shfl_sync(~0u, v, 3);
  if (__any_sync(~0u, v < 0) || !__all_sync(~0u, v > 0)) v = 0;
  g.p[HERE] = v + float(__popc(__ballot_sync(~0u, ME & 1)));
}
KERNEL(good_half_warp) {
  float v = 0;
  if ((ME & 31) < 16) v = __shfl_xor_sync(0xffffu, 1.0f, 8);
  g.p[HERE] = v;
}
KERNEL(bad_lane_outside_mask) {
  float v = 0;
  if ((ME & 31) < 16) v = __shfl_sync(0xffffu, 1.0f, 20);
  g.p[HERE] = v;
}
KERNEL(bad_mask_without_caller) { g.p[HERE] = __shfl_xor_sync(0xffffu, 1.0f, 1); }
KERNEL(bad_mask_names_ended_lane) {
  if (ME >= g.n) return;
  g.p[HERE] = __shfl_xor_sync(~0u, 1.0f, 1);
}
KERNEL(bad_divergent_shuffle) {
  if (ME & 1) {
    g.p[HERE] = __shfl_xor_sync(~0u, 1.0f, 1);
  } else {
    g.p[HERE] = __shfl_xor_sync(~0u, 2.0f, 1);
  }
}
KERNEL(good_warp_barrier) {
  BN_SHARED(float, s, 64);
  s[ME] = float(ME);
  __syncwarp();
  g.p[HERE] = s[ME ^ 1];
}
KERNEL(bad_shuffle_as_warp_barrier) {
  BN_SHARED(float, s, 64);
  s[ME] = float(ME);
  const float v = __shfl_xor_sync(~0u, 1.0f, 1);
  g.p[HERE] = s[ME ^ 1] + v;
}
KERNEL(bad_barrier_against_warp) {
  if ((ME & 31) < 16) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  g.p[HERE] = 1;
}

// ---- memory ----

KERNEL(bad_behind_the_end) { g.p[8192 + 1024 + ME] = 1; }
KERNEL(bad_before_the_start) {
  if (HERE == 0) g.p[g.n - 41] = 1;
}
KERNEL(bad_null) { static_cast<float*>(nullptr)[ME + g.n] = 1; }
KERNEL(bad_misaligned) { store(reinterpret_cast<Packed*>(g.p + 1 + 4 * ME), Packed()); }
KERNEL(bad_misaligned_pair) { reinterpret_cast<double*>(g.p + 1)[ME] = 1; }
KERNEL(bad_uninitialised) { g.p[HERE] = g.p[8192 + ME]; }
KERNEL(bad_freed) { g.p[HERE] = 1; }  // launched on memory that was freed
KERNEL(bad_behind_shared) {
  BN_SHARED(float, s, 64);
  BN_SHARED(float, other, 64);
  float* const p = s;
  other[ME] = 0;
  p[ME + g.n] = 1;
  __syncthreads();
  g.p[HERE] = p[ME] + other[ME];
}
KERNEL(bad_behind_array) {
  BN_SHARED(float, s, 64);
  s[ME + g.n] = 1;
  __syncthreads();
  g.p[HERE] = s[ME];
}
KERNEL(bad_behind_dynamic) {
  BN_DYN_SHARED(float, s);
  s[ME + 1] = 1;  // the launch gives 64 floats
  __syncthreads();
  g.p[HERE] = s[1];
}
KERNEL(bad_uninitialised_shared) {
  BN_SHARED(float, s, 64);
  if (ME < 10) s[ME] = 1;
  __syncthreads();
  g.p[HERE] = s[ME];
}
KERNEL(bad_overflow) { g.p[HERE] = float(int(g.n) * 100000000 + ME); }
KERNEL(good_neighbouring_bytes) {
  BN_SHARED(uint16_t, s, 128);
  s[ME] = uint16_t(ME);
  reinterpret_cast<unsigned char*>(s)[128 + ME] = 1;
  __syncthreads();
  g.p[HERE] = float(s[ME]) + float(s[64 + ME / 2]);
}

// ---- races between blocks ----

KERNEL(bad_blocks_overlap) {
  g.p[HERE] = 1;
  if (ME == 63 && blockIdx.x + 1 < gridDim.x) g.p[HERE + 1] = 2;
}
KERNEL(bad_reads_other_block) {
  g.p[HERE] = 1;
  if (blockIdx.x > 0) g.p[1024 + HERE] = g.p[HERE - 64];
}
KERNEL(bad_race_in_block) {
  g.p[HERE] = 1;
  g.p[1024 + HERE] = g.p[HERE ^ 63];
}
KERNEL(bad_plain_sum) { g.p[1024] += 1; }
KERNEL(good_atomic_sum) { atomicAdd(g.p + 1024, 1.0f); }

// The last block to finish adds up what all blocks wrote.
BN_DEVICE void last_block(const Args& g, bool fence_before, bool fence_after) {
  BN_SHARED(unsigned, last, 1);
  g.p[HERE] = 1;
  __syncthreads();
  if (ME == 0) {
    if (fence_before) __threadfence();
    last[0] = atomicAdd(g.words, 1u) == gridDim.x - 1;
    if (fence_after) __threadfence();
  }
  __syncthreads();
  if (!last[0]) return;
  float sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += g.p[64 * b + threadIdx.x];
  g.p[2048 + ME] = sum;
}
KERNEL(good_last_block) { last_block(g, true, true); }
KERNEL(bad_fence_before_missing) { last_block(g, false, true); }
KERNEL(bad_fence_after_missing) { last_block(g, true, false); }

// Block after block, in the order of their tickets: each waits for the one before it.
enum class Word { kOrdered, kVolatileWithFences, kVolatile };
BN_DEVICE void chain(const Args& g, Word word) {
  BN_SHARED(unsigned, ticket, 1);
  volatile unsigned* const turn = g.words + 1;
  if (ME == 0) {
    const unsigned mine = ticket[0] = atomicAdd(g.words, 1u);
    if (word == Word::kOrdered) {
      while (load_acquire(g.words + 1) < mine) __nanosleep(20);
    } else {
      while (*turn < mine) __nanosleep(20);
    }
    if (word == Word::kVolatileWithFences) __threadfence();
  }
  __syncthreads();
  g.p[ME] += 1;
  __syncthreads();
  if (ME != 0) return;
  if (word == Word::kOrdered) {
    store_release(g.words + 1, ticket[0] + 1);
  } else {
    if (word == Word::kVolatileWithFences) __threadfence();
    *turn = ticket[0] + 1;
  }
}
KERNEL(good_chain) { chain(g, Word::kOrdered); }
KERNEL(good_volatile_chain) { chain(g, Word::kVolatileWithFences); }
KERNEL(bad_volatile_orders_nothing) { chain(g, Word::kVolatile); }

// Every block waits until all have come: right only while all are on the machine.
KERNEL(good_grid_barrier) {
  if (HERE < 256) g.p[HERE] = 1;
  __syncthreads();
  if (ME == 0) {
    __threadfence();
    atomicAdd(g.words, 1u);
    while (load_acquire(g.words) < gridDim.x) __nanosleep(20);
  }
  __syncthreads();
  if (HERE < 256) g.p[1024 + HERE] = g.p[(HERE + 64) % 256];
}
KERNEL(bad_waits_for_nobody) {
  if (ME == 0) {
    while (load_acquire(g.words) < gridDim.x + 1) __nanosleep(20);
  }
  __syncthreads();
  g.p[HERE] = 1;
}
KERNEL(bad_volatile_waits_for_nobody) {
  while (*static_cast<volatile unsigned*>(g.words) == 0) {
    if (g.p[HERE] > 0) return;
  }
  g.p[HERE] = 1;
}

// ---- clusters of two blocks ----

#if BN_CLUSTERS
#define CLUSTER_KERNEL(name) BN_CLUSTER_ENTRY(64, 1, 2) name(const Args g)

BN_DEVICE void exchange(const Args& g, bool before, bool after, bool early) {
  BN_SHARED(float, s, 64);
  const unsigned peer = cluster_rank() ^ 1;
  s[ME] = float(HERE);
  if (before) cluster_barrier();
  if (early) cluster_arrive();
  const float v = cluster_peer(s, peer)[ME];
  if (early) cluster_wait();
  if (after) cluster_barrier();
  if (early) s[ME] = 0;
  g.p[HERE] = v;
}
CLUSTER_KERNEL(good_cluster) { exchange(g, true, true, false); }
// A relaxed barrier says that the peer has started; what is written to it is ordered by the next.
BN_DEVICE void push(const Args& g, bool relaxed) {
  BN_SHARED(float, s, 64);
  cluster_arrive_relaxed();
  cluster_wait();
  cluster_peer(s, cluster_rank() ^ 1)[ME] = float(HERE);
  relaxed ? cluster_arrive_relaxed() : cluster_arrive();
  cluster_wait();
  g.p[HERE] = s[ME];
}
CLUSTER_KERNEL(good_relaxed_start) { push(g, false); }
CLUSTER_KERNEL(bad_relaxed_orders_nothing) { push(g, true); }
// What was read between a relaxed arrival and its wait comes before what follows the next barrier.
CLUSTER_KERNEL(good_read_within_relaxed_barrier) {
  cluster_arrive_relaxed();
  const float v = g.p[(HERE & ~127) + ME];
  cluster_wait();
  cluster_barrier();
  if (cluster_rank() == 0) g.p[HERE] = v + 1;
}
CLUSTER_KERNEL(bad_no_first_cluster_barrier) { exchange(g, false, true, false); }
CLUSTER_KERNEL(bad_peer_ends_early) { exchange(g, true, false, false); }
CLUSTER_KERNEL(bad_read_after_arrival) { exchange(g, true, false, true); }
// Between arrival and wait nothing is ordered, even if all of it happens before the barrier ends.
CLUSTER_KERNEL(bad_read_within_barrier) {
  BN_SHARED(float, s, 64);
  s[ME] = 1;
  cluster_barrier();
  cluster_arrive();
  if (cluster_rank() == 0) g.p[HERE] = cluster_peer(s, 1)[ME];
  cluster_wait();
  if (cluster_rank() == 1) s[ME] = 0;
  cluster_barrier();
}
CLUSTER_KERNEL(bad_peer_leaves_cluster_barrier) {
  if (cluster_rank() == 1) return;
  cluster_barrier();
  g.p[HERE] = 1;
}
CLUSTER_KERNEL(good_cluster_orders_global) {
  g.p[HERE] = 1;
  cluster_arrive();
  cluster_wait();
  g.p[1024 + HERE] = g.p[HERE ^ 64];
}

// ---- copies beside the threads, and mbarriers ----

// Two rounds of copies of 256 bytes to a shared array, counted by one mbarrier.
struct Round {
  unsigned expected = 256, copied = 256;
  bool wait = true, parity = true, publish = true, barrier = true;
};
BN_DEVICE void copy(const Args& g, const Round& r) {
  BN_SHARED(Packed, s, 32);
  BN_SHARED(uint64_t, full, 1);
  if (ME == 0) {
    mbarrier_init(full, 1);
    if (r.publish) mbarrier_publish();
  }
  __syncthreads();
  for (unsigned round = 0; round < 2; ++round) {
    if (ME == 0) {
      mbarrier_expect(full, r.expected);
      copy_to_shared(s, reinterpret_cast<const Packed*>(g.p + 64 * round), r.copied, full);
    }
    if (r.wait) mbarrier_wait(full, r.parity ? round : 1);
    const float v = float_of_bits(s[ME / 4].word[ME % 4]);
    if (r.barrier) __syncthreads();
    g.p[1024 + HERE] = v;
  }
}
CLUSTER_KERNEL(good_copy) { copy(g, {}); }
// A copy comes too while all other threads that could go on only poll.
CLUSTER_KERNEL(good_copy_while_others_poll) {
  if (blockIdx.x == 0) copy(g, {});
  __syncthreads();
  if (ME == 0) {
    if (blockIdx.x == 0) store_release(g.words, 1);
    while (load_acquire(g.words) == 0) __nanosleep(20);
  }
  g.p[4096 + HERE] = 1;
}
CLUSTER_KERNEL(bad_copy_not_awaited) { copy(g, {256, 256, false, true, true, true}); }
CLUSTER_KERNEL(bad_copy_of_wrong_parity) { copy(g, {256, 256, true, false, true, true}); }
CLUSTER_KERNEL(bad_copy_over_readers) { copy(g, {256, 256, true, true, true, false}); }
CLUSTER_KERNEL(bad_copy_of_more_bytes) { copy(g, {256, 272, true, true, true, true}); }
CLUSTER_KERNEL(bad_copy_of_fewer_bytes) { copy(g, {256, 240, true, true, true, true}); }
CLUSTER_KERNEL(bad_copy_of_half_vectors) { copy(g, {264, 264, true, true, true, true}); }
CLUSTER_KERNEL(bad_copy_behind_array) { copy(g, {1024, 1024, true, true, true, true}); }
CLUSTER_KERNEL(bad_mbarrier_not_published) { copy(g, {256, 256, true, true, false, true}); }
CLUSTER_KERNEL(bad_copy_misaligned) {
  BN_SHARED(Packed, s, 32);
  BN_SHARED(uint64_t, full, 1);
  if (ME != 0) return;
  mbarrier_init(full, 1);
  mbarrier_publish();
  mbarrier_expect(full, 16);
  copy_to_shared(s, reinterpret_cast<const Packed*>(g.p + 2), 16, full);
  mbarrier_wait(full, 0);
}
CLUSTER_KERNEL(bad_copy_uninitialised) {
  BN_SHARED(Packed, s, 32);
  BN_SHARED(uint64_t, full, 1);
  if (ME != 0) return;
  mbarrier_init(full, 1);
  mbarrier_publish();
  mbarrier_expect(full, 16);
  copy_to_shared(s, reinterpret_cast<const Packed*>(g.p + 8192), 16, full);
  mbarrier_wait(full, 0);
}
CLUSTER_KERNEL(bad_ends_before_its_copy) {
  BN_SHARED(Packed, s, 32);
  BN_SHARED(uint64_t, full, 1);
  if (ME != 0) return;
  mbarrier_init(full, 2);
  mbarrier_publish();
  mbarrier_expect(full, 32);
  copy_to_shared(s, reinterpret_cast<const Packed*>(g.p), 16, full);
  mbarrier_arrive(full);
}
CLUSTER_KERNEL(bad_mbarrier_without_init) {
  BN_SHARED(uint64_t, full, 1);
  mbarrier_arrive(full);
  g.p[HERE] = 1;
}
CLUSTER_KERNEL(bad_mbarrier_before_its_init) {
  BN_SHARED(uint64_t, full, 1);
  if (ME == 0) mbarrier_init(full, 64);
  g.p[HERE] = 1;
  mbarrier_arrive(full);
}
CLUSTER_KERNEL(bad_arrival_too_many) {
  BN_SHARED(uint64_t, full, 1);
  if (ME != 0) return;
  mbarrier_init(full, 1);
  mbarrier_expect(full, 16);
  mbarrier_arrive(full);
  g.p[HERE] = 1;
}
// What was written before an arrival is seen after the wait.
BN_DEVICE void arrivals(const Args& g, unsigned all) {
  BN_SHARED(float, s, 64);
  BN_SHARED(uint64_t, done, 1);
  if (ME == 0) mbarrier_init(done, all);
  __syncthreads();
  s[ME] = float(ME);
  mbarrier_arrive(done);
  mbarrier_wait(done, 0);
  g.p[HERE] = s[63 - ME];
}
CLUSTER_KERNEL(good_arrivals) { arrivals(g, 64); }
CLUSTER_KERNEL(bad_fewer_arrivals) { arrivals(g, 32); }
CLUSTER_KERNEL(bad_arrival_missing) { arrivals(g, 65); }

// Blocks tell each other a number, again and again, by turns to two slots.
struct Talk {
  bool started = true, expect = true, of_cluster = true, stay = true;
  int slots = 2;
};
BN_DEVICE void talk(const Args& g, const Talk& t) {
  BN_SHARED(double, heard, 4);
  BN_SHARED(uint64_t, come, 2);
  const unsigned me = cluster_rank();
  if (ME == 0) {
    mbarrier_init(come, 1);
    mbarrier_init(come + 1, 1);
    mbarrier_publish();
  }
  __syncthreads();
  if (t.started) {
    cluster_arrive_relaxed();
    cluster_wait();
  }
  double sum = 0;
  for (int round = 0; round < 6; ++round) {
    const int slot = round % t.slots, last = round / t.slots % 2;
    if (!t.stay && me == 1 && round == 5) return;
    if (ME == 0 && t.expect) mbarrier_expect(come + slot, 16);
    if (ME < 2) store_to_peer(heard + 2 * slot + me, round + me, come + slot, unsigned(ME));
    if (t.of_cluster) {
      mbarrier_wait_for_cluster(come + slot, unsigned(last));
    } else {
      mbarrier_wait(come + slot, unsigned(last));
    }
    sum += heard[2 * slot] + heard[2 * slot + 1];
    __syncthreads();
  }
  g.p[HERE] = float(sum);
}
CLUSTER_KERNEL(good_talk) { talk(g, {}); }
CLUSTER_KERNEL(bad_talk_before_the_start) { talk(g, {false, true, true, true, 2}); }
CLUSTER_KERNEL(bad_talk_without_expecting) { talk(g, {true, false, true, true, 2}); }
CLUSTER_KERNEL(bad_talk_not_of_cluster) { talk(g, {true, true, false, true, 2}); }
CLUSTER_KERNEL(bad_talk_to_who_left) { talk(g, {true, true, true, false, 2}); }
CLUSTER_KERNEL(bad_talk_in_one_slot) { talk(g, {true, true, true, true, 1}); }
#endif
