// Which accesses are ordered: the happens-before relation of CUDA's memory model, as far as
// barriers, fences and atomics build it.
//
// One clock ticks at every event that orders something. An access carries the time at which it was
// made; knowing a thread (or a whole block) "up to time T" means that all its accesses before T
// come before one's own.
//
//   block barrier      every thread of the block knows the whole block up to then
//   cluster barrier    likewise all blocks of the cluster, but for accesses after the arrival;
//                      nothing where a thread arrived relaxed
//   warp barrier       the lanes of the mask know each other up to then
//   release, acquire   the acquiring thread knows what the releasing one did and knew; a fence and
//                      relaxed atomics or volatile accesses do the same in two steps
//   mbarrier           who waited knows what those who arrived did and knew, and the copies of the
//                      phase; those by other blocks only if it waited for the cluster
//   launch             everything before it
//
// Shuffles and votes order no memory. Atomics on both sides are no race. A fence tells what its own
// thread knows: the fence of one thread after a block barrier speaks for the block, fences of all
// threads before it do not (they do on every GPU so far, but no document promises it). A store to a
// peer that an mbarrier counts tells of itself, and not of other stores of its thread; but what
// that thread knew to be read was read, so that the peer may overwrite it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <unordered_map>

#include "memory.h"

namespace emulator {

struct Block;
struct Cluster;
struct Thread;

struct Knowledge {
  std::unordered_map<uint32_t, uint64_t> blocks, threads;  // up to which time

  bool empty() const { return blocks.empty() && threads.empty(); }
  void clear();
  void join(const Knowledge& other);
};

struct ThreadOrder {
  Knowledge known;          // learned since the last block barrier
  Knowledge at_fence;       // what a relaxed write tells
  Knowledge until_fence;    // what relaxed reads were told, to be known from the next fence on
  Knowledge over;           // of which reads and copies are known to be over, no more
  uint64_t lanes[32] = {};  // of its warp, by warp barriers
};

struct BlockOrder {
  Knowledge known, over;
  uint64_t barrier = 0;
  Access from_peer = {};  // the last one by another block of the cluster, to its shared memory
};

struct ClusterOrder {
  uint64_t last = 0, before_last = 0;  // a barrier that orders, and any before it
  uint64_t newest = 0;                 // of any
};

struct MbarrierOrder {
  Access made = {};
  Access started = {};                       // the last copy
  Access copies, stores;                     // of the phase, those by peers
  Knowledge arrived, sent;                   // in the phase
  Knowledge told, told_by_peers, told_over;  // by the last one
};

uint64_t clock_now();

// All of these do nothing in a library without checks.
void order_launch();
void order_start(Thread& t);
void order_start(Block& b);
void order_block_barrier(Block& b);
// relaxed: one that orders nothing.
void order_cluster_barrier(Cluster& c, bool relaxed);
void order_warp_barrier(Block& b, unsigned warp, unsigned mask);
void order_fence(Thread& t);
void order_acquire(Thread& t, const void* p);
void order_release(Thread& t, const void* p);
void order_relaxed_read(Thread& t, const void* p);
// part_of_chain: a read-modify-write, which leaves standing what earlier writers told.
void order_relaxed_write(Thread& t, const void* p, bool part_of_chain);
void order_mbarrier_init(MbarrierOrder& m);
void order_mbarrier_arrive(MbarrierOrder& m);
void order_mbarrier_send(MbarrierOrder& m);
void order_mbarrier_phase(MbarrierOrder& m);
void order_mbarrier_wait(const MbarrierOrder& m, bool cluster);
// Whether the running thread may use it.
bool order_mbarrier_known(const MbarrierOrder& m);
// Whether it knows that the last copy came.
bool order_copy_known(const MbarrierOrder& m);

// Faults if the access of the running thread is not ordered with an earlier one to the same bytes;
// likewise one that it starts, `by` which it is remembered.
void check_race(Region& r, size_t offset, size_t bytes, bool write, bool atomic, const Access* by);
// The running thread touches shared memory of another block of the cluster.
void order_peer(Block& owner, const Access* by);
// Faults if a block ends that another one may still read.
void check_end(const Block& b);

}  // namespace emulator
