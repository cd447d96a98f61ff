// The emulated GPU: the blocks that are on it at the moment, their threads, and who runs next.
//
// All threads of all resident blocks take turns on the calling OS thread. Who goes on is chosen
// wherever a thread waits, at atomics, fences and volatile accesses and, with checks, at every k-th
// access to memory; the choice is a function of the schedule's seed alone.
//
// What lives as long as the process is never destroyed: a JVM that is told to end calls exit()
// while other threads are still in a kernel.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fiber.h"
#include "language.h"
#include "memory.h"
#include "order.h"

namespace emulator {

struct Entry {
  const char* name;
  void (*call)(void** parameters);
  std::vector<size_t> parameters;  // bytes of each
  unsigned max_threads;
  Coordinates cluster;
  unsigned shared, registers;  // as the CUDA compiler counts them
};

// Every entry of this library, in the order of their registration.
std::vector<Entry>& entries();

struct Schedule {
  uint64_t seed = 0;     // 0: first come, first served; 1: the reverse; others: random
  uint64_t preempt = 0;  // with checks: any thread may be overtaken at every so many accesses
};
extern Schedule schedule;

struct Counts {
  uint64_t launches, switches, accesses;
};
extern Counts counts;

struct Launch {
  const Entry* entry;
  Coordinates grid, block;
  size_t dynamic_shared;
  unsigned resident;  // blocks on the machine at a time, but at least one cluster
  int device;
  void** parameters;
};

// Runs a kernel to its end; false: it failed, and fault_text() says why.
bool run(const Launch& launch);
const std::string& fault_text();

// ---- what the parts of the machine share ----

struct Block;
struct Cluster;

enum class Doing : uint8_t {
  kNew,
  kReady,
  kInWarp,
  kAtBlockBarrier,
  kAtClusterBarrier,
  kAtMbarrier,
  kDone
};

// A barrier in shared memory, phase after phase: over when all have arrived and all bytes are here.
struct Mbarrier {
  unsigned size, missing;  // arrivals
  int64_t expected = 0;    // bytes, of which those that came are taken off
  int64_t under_way = 0;   // bytes of copies that have started and not come
  uint64_t phases = 0;     // that are over
  bool published = false;  // to copies
  uint64_t barriers = 0;   // of the cluster, behind which it is published to peers
  MbarrierOrder order;
};

struct Thread {
  Fiber fiber;
  Stack stack;
  Coordinates index;
  Block* block;
  unsigned number;  // in the block
  uint32_t id;      // in the grid
  Doing doing;
  Place place;  // where it waits

  Barrier barrier;  // and what it brought there
  Warp operation;
  unsigned mask, source;
  uint64_t value;

  bool arrived_at_cluster;
  uint64_t arrival;  // the number of cluster barriers before it
  const Mbarrier* awaited;

  unsigned polls;  // reads that another thread must answer, since its last progress
  ThreadOrder order;

  unsigned lane() const { return number % 32; }
};

struct Block {
  Coordinates index;
  uint32_t id;  // in the grid, one cluster after another
  unsigned rank, live, arrived;
  Cluster* cluster;
  Thread* threads;
  unsigned size;
  SharedMemory* shared;
  std::map<size_t, Mbarrier> mbarriers;  // by their offsets
  unsigned copies;                       // to its shared memory, under way
  BlockOrder order;

  unsigned warp_size(unsigned warp) const {
    const unsigned rest = size - 32 * warp;
    return rest < 32 ? rest : 32;
  }
};

struct Cluster {
  std::vector<Block> blocks;
  std::vector<Thread> threads;
  std::vector<std::unique_ptr<SharedMemory>> shared;
  unsigned live, arrived;
  bool relaxed;       // somebody arrived so at the barrier under way
  uint64_t barriers;  // completed ones
  ClusterOrder order;
};

extern Thread* running;
extern const Launch* launched;
inline bool kernel_runs() { return running != nullptr; }

// Copies under way come at once, when nobody can go on, or at any time between, as the schedule has
// it; one that must come, if there is any. True: one came.
bool copies_come(bool must);
void start_without_copies();

// The running thread waits until somebody wakes it.
void wait(Doing what);
void wake(Thread& t);

// Whoever only polls makes no progress: when nobody else does anything for long, it is a deadlock.
void progress();
void poll();
// A read is progress only of a thread that has not polled for long: others may read in their loop.
void progress_by_reading();

// A thread has ended: who waits for it waits in vain.
void check_warp_without(const Thread& ended);
void check_block_without(const Block& b);
void check_cluster_without(const Cluster& c);
void check_copies_without(const Block& b);

// "block (1,0,0) thread (5,0,0)"
std::string name_of(const Thread& t);
// The resident block that uses a slot of shared memory, or null.
Block* resident_block(unsigned slot);

}  // namespace emulator
