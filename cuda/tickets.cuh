// Statistics and what follows from them in one ordinary launch: the second read of the data comes
// from L2.
//
// Blocks draw tickets. A task of statistics is S, the task of applying them to the same slice A,
// and those of a few columns (a phase) have tickets side by side; phases come in the order S0 S1 A0
// S2 A1 S3 A2 ... An A waits until all slices of its columns are done. Those have lower tickets, so
// a block is at work on each of them that itself waits for lower ones only: nothing can deadlock,
// whatever number of blocks is resident. What phase k + 1 read is what the L2 has to hold besides
// phase k.
#pragma once

#include "channels.cuh"
#include "elements.cuh"
#include "sums.cuh"

enum Mode : int64_t { kSums, kApply, kBoth };

// Words that are zero when a launch starts and when it ends: tickets drawn, blocks that left, and
// for each group of columns the slices done, one more when their channels are finished.
struct Tickets {
  unsigned* counters;
  int64_t groups;                      // of columns, `width` in each
  int64_t phase;                       // groups in a phase
  double per_phase_tasks, per_slices;  // 1 / (phase * slices), 1 / slices

  BN_DEVICE unsigned* done(int64_t group) const { return counters + 2 + group; }

  // Draws for the block; all its threads come.
  BN_DEVICE int64_t draw(unsigned* shared) const {
    if (threadIdx.x == 0) *shared = atomicAdd(counters, 1u);
    __syncthreads();
    const int64_t ticket = *shared;
    __syncthreads();
    return ticket;
  }

  // Which task a ticket is for: false if for none.
  BN_DEVICE bool find(int64_t ticket, int64_t slices, bool& apply, int64_t& task) const {
    int64_t within;
    const int64_t k = quotient(ticket, phase * slices, per_phase_tasks, within);
    apply = k >= 2 && k % 2 == 0;
    const int64_t p = k == 0 ? 0 : apply ? k / 2 - 1 : (k + 1) / 2;
    task = p * phase * slices + within;
    return task < groups * slices;
  }
  BN_DEVICE int64_t tickets(int64_t slices) const {
    const int64_t phases = (groups + phase - 1) / phase;
    return (2 * phases + 1) * phase * slices;
  }

  // A slice is done. True for the block that did the group's last one: it sees what all others
  // wrote.
  BN_DEVICE bool last_slice(int64_t group, int64_t slices) const {
    bool last = false;
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      last = atomicAdd(done(group), 1u) == unsigned(slices - 1);
      __threadfence();
    }
    return __syncthreads_or(last);
  }
  // The channels of the group are finished.
  BN_DEVICE void publish(int64_t group, int64_t slices) const {
    __syncthreads();
    if (threadIdx.x == 0) store_release(done(group), unsigned(slices + 1));
  }
  BN_DEVICE void await(int64_t group, int64_t slices) const {
    if (threadIdx.x == 0) {
      BN_UNROLL_BY(1)
      while (load_acquire(done(group)) != unsigned(slices + 1)) __nanosleep(100);
    }
    __syncthreads();
  }

  // The last block to leave finds all others done with the counters.
  BN_DEVICE void leave() const {
    bool last = false;
    if (threadIdx.x == 0) {
      __threadfence();
      last = atomicAdd(counters + 1, 1u) == gridDim.x - 1;
      __threadfence();
    }
    if (!__syncthreads_or(last)) return;
    BN_UNROLL_BY(1)
    for (int64_t i = threadIdx.x; i < groups + 2; i += kThreads) counters[i] = 0;
  }
};

// All tasks of one kind in turn, or both by tickets. `finish` gets a channel, a warp for each,
// whose parts are complete.
template <class Units, class Reduce, class Apply, class Finish>
BN_DEVICE void run_tasks(const Columns& w, int64_t mode, int64_t reverse, const Tickets& tickets,
                         const Reduce& reduce, const Apply& apply_to, const Finish& finish) {
  BN_SHARED(double, scratch, kScratch<Units>);
  BN_SHARED(unsigned, ticket, 1);
  const bool both = mode == kBoth;
  const int64_t tasks = w.tasks(), end = both ? tickets.tickets(w.slices) : tasks;
  BN_UNROLL_BY(1)
  for (int64_t next = both ? tickets.draw(ticket) : blockIdx.x; next < end;
       next = both ? tickets.draw(ticket) : next + gridDim.x) {
    bool apply = mode == kApply;
    int64_t task = reverse ? tasks - 1 - next : next;
    if (both && !tickets.find(next, w.slices, apply, task)) continue;
    int64_t slice;
    const int64_t group = quotient(task, w.slices, w.per_slices, slice);
    if (apply) {
      if (both) tickets.await(group, w.slices);
      apply_to(task);
      continue;
    }
    reduce(task, scratch);
    if (!both || !tickets.last_slice(group, w.slices)) continue;
    const int each = w.channels_of_unit<Units::kElements>();
    const int64_t first = group * w.width * each, all = w.columns * each;
    BN_UNROLL_BY(1)
    for (int64_t c = first + threadIdx.x / 32; c < first + w.width * each && c < all; c += kWarps) {
      finish(c);
    }
    tickets.publish(group, w.slices);
  }
  if (both) tickets.leave();
}
