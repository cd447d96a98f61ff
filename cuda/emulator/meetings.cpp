// Where threads meet: barriers of blocks and clusters, operations of a warp. Divergence is a fault
// here even where some GPU would forgive it: threads that meet at different lines, that have ended
// before, or that a mask names without cause.

#include <string.h>

#include "blocks.h"
#include "machine.h"

namespace emulator {

namespace {

void check_caller(const Thread& t, unsigned mask, Place at) {
  if (mask >> t.lane() & 1) return;
  fault("warp operation at %s:%d: the mask %08x does not name the calling lane %u", at.file,
        at.line, mask, t.lane());
}

bool same(Place a, Place b) { return a.line == b.line && strcmp(a.file, b.file) == 0; }

[[noreturn]] void diverged(const char* what, const Thread& a, const Thread& b) {
  fault("divergent %s: %s at %s:%d, but %s at %s:%d", what, name_of(a).c_str(), a.place.file,
        a.place.line, name_of(b).c_str(), b.place.file, b.place.line);
}

const Thread* first_waiting(const Block& b) {
  for (unsigned i = 0; i < b.size; ++i) {
    if (b.threads[i].doing == Doing::kAtBlockBarrier) return &b.threads[i];
  }
  return nullptr;
}

void release_block(Block& b) {
  int sum = 0, all = 1, any = 0;
  for (unsigned i = 0; i < b.size; ++i) {
    const int value = int(b.threads[i].value);
    sum += value, all &= value, any |= value;
  }
  b.arrived = 0;
  order_block_barrier(b);
  for (unsigned i = 0; i < b.size; ++i) {
    Thread& t = b.threads[i];
    t.value = uint64_t(t.barrier == Barrier::kCount ? sum : t.barrier == Barrier::kAnd ? all : any);
    wake(t);
  }
}

}  // namespace

int block_barrier(Barrier kind, int value, Place at) {
  Thread& t = *running;
  Block& b = *t.block;
  progress();
  t.place = at;
  t.barrier = kind;
  t.value = value != 0;
  if (b.arrived > 0) {
    const Thread& other = *first_waiting(b);
    if (!same(other.place, at) || other.barrier != kind) diverged("__syncthreads", other, t);
  }
  t.doing = Doing::kAtBlockBarrier;
  ++b.arrived;
  check_block_without(b);
  if (b.arrived == b.size) release_block(b);
  wait(t.doing);
  return int(t.value);
}

void check_block_without(const Block& b) {
  if (b.arrived == 0 || b.live == b.size) return;
  const Thread& t = *first_waiting(b);
  fault("divergent __syncthreads: %s waits at %s:%d, but %u of %u threads have ended",
        name_of(t).c_str(), t.place.file, t.place.line, b.size - b.live, b.size);
}

uint64_t warp_together(Warp operation, unsigned mask, uint64_t value, Place at) {
  Thread& t = *running;
  Block& b = *t.block;
  Thread* const lanes = &b.threads[t.number - t.lane()];
  const unsigned warp = t.number / 32, size = b.warp_size(warp);
  progress();
  check_caller(t, mask, at);
  t.place = at;
  t.operation = operation;
  t.mask = mask;
  t.value = value;
  t.doing = Doing::kInWarp;
  bool complete = true;
  for (unsigned i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (i >= size || lanes[i].doing == Doing::kDone) {
      fault("warp operation at %s:%d: the mask %08x names lane %u, which %s", at.file, at.line,
            mask, i, i >= size ? "does not exist" : "has ended");
    }
    const Thread& other = lanes[i];
    const bool here = other.doing == Doing::kInWarp && other.mask == mask &&
                      other.operation == operation && same(other.place, at);
    // One that waits for others of its own mask may still come.
    const bool elsewhere = other.doing == Doing::kInWarp && other.mask >> t.lane() & 1;
    if (!here && elsewhere) diverged("warp operation", other, t);
    complete = complete && here;
  }
  if (complete) {
    uint64_t results[32], together = operation == Warp::kAll;
    for (unsigned i = 0; i < 32; ++i) {
      if (!(mask >> i & 1)) continue;
      const uint64_t v = lanes[i].value;
      if (operation == Warp::kBallot) together |= v << i;
      if (operation == Warp::kAll) together &= v;
      if (operation == Warp::kAny) together |= v;
      if (operation == Warp::kShuffle) results[i] = lanes[lanes[i].source].value;
    }
    if (operation == Warp::kSync) order_warp_barrier(b, warp, mask);
    for (unsigned i = 0; i < 32; ++i) {
      if (!(mask >> i & 1)) continue;
      lanes[i].value = operation == Warp::kShuffle ? results[i] : together;
      wake(lanes[i]);
    }
  }
  wait(t.doing);
  return t.value;
}

uint64_t warp_shuffle(Source source, unsigned mask, uint64_t value, unsigned argument, int width,
                      Place at) {
  Thread& t = *running;
  check_caller(t, mask, at);
  const int lane = int(t.lane()), first = lane & ~(width - 1), last = first + width - 1;
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fault("shuffle at %s:%d: a width of %d", at.file, at.line, width);
  }
  int from = lane;
  switch (source) {
    case Source::kLane:
      from = first + int(argument & unsigned(width - 1));
      break;
    case Source::kXor:
      from = lane ^ int(argument);
      break;
    case Source::kDown:
      from = lane + int(argument);
      break;
    case Source::kUp:
      from = lane - int(argument) < first ? lane : lane - int(argument);
      break;
  }
  if (from > last) from = lane;
  if (!(mask >> from & 1)) {
    fault("shuffle at %s:%d: lane %d reads lane %d, which the mask %08x does not name", at.file,
          at.line, lane, from, mask);
  }
  t.source = unsigned(from);
  return warp_together(Warp::kShuffle, mask, value, at);
}

void check_warp_without(const Thread& ended) {
  const Block& b = *ended.block;
  const Thread* const lanes = &b.threads[ended.number - ended.lane()];
  for (unsigned i = 0; i < b.warp_size(ended.number / 32); ++i) {
    const Thread& t = lanes[i];
    if (t.doing == Doing::kInWarp && t.mask >> ended.lane() & 1) {
      fault("warp operation at %s:%d: the mask %08x names lane %u, which has ended", t.place.file,
            t.place.line, t.mask, ended.lane());
    }
  }
}

void check_cluster_without(const Cluster& c) {
  if (c.arrived == 0 || c.live == c.threads.size()) return;
  fault("divergent cluster barrier: %u threads have arrived, but %zu of %zu have ended", c.arrived,
        c.threads.size() - c.live, c.threads.size());
}

}  // namespace emulator

using namespace emulator;

void* shared_array(const void* tag, size_t bytes, size_t alignment) {
  return running->block->shared->array(tag, bytes, alignment);
}
void* dynamic_shared_array() { return running->block->shared->dynamic(); }

unsigned cluster_size() { return unsigned(running->block->cluster->blocks.size()); }
unsigned cluster_rank() { return running->block->rank; }

static void arrive_at_cluster(Place at, bool relaxed) {
  Thread& t = *running;
  Cluster& c = *t.block->cluster;
  progress();
  if (t.arrived_at_cluster)
    fault("second cluster_arrive without a wait at %s:%d", at.file, at.line);
  t.arrived_at_cluster = true;
  t.arrival = c.barriers;
  c.relaxed |= relaxed;
  ++c.arrived;
  check_cluster_without(c);
  if (c.arrived < c.threads.size()) return;
  c.arrived = 0;
  ++c.barriers;
  order_cluster_barrier(c, c.relaxed);
  c.relaxed = false;
  for (Thread& other : c.threads) {
    if (other.doing == Doing::kAtClusterBarrier) wake(other);
  }
}

void cluster_arrive(Place at) { arrive_at_cluster(at, false); }
void cluster_arrive_relaxed(Place at) { arrive_at_cluster(at, true); }

void cluster_wait(Place at) {
  Thread& t = *running;
  if (!t.arrived_at_cluster) fault("cluster_wait without an arrive at %s:%d", at.file, at.line);
  t.place = at;
  if (t.block->cluster->barriers == t.arrival) wait(Doing::kAtClusterBarrier);
  t.arrived_at_cluster = false;
}

void* cluster_peer_address(const void* mine, unsigned rank, Place at) {
  const Block& b = *running->block;
  const char* const p = static_cast<const char*>(mine);
  if (!b.shared->region.holds(p, 1)) {
    fault("cluster_peer at %s:%d: no address of this block's shared memory", at.file, at.line);
  }
  if (rank >= b.cluster->blocks.size()) {
    fault("cluster_peer at %s:%d: block %u of %zu", at.file, at.line, rank,
          b.cluster->blocks.size());
  }
  return b.cluster->blocks[rank].shared->region.base + (p - b.shared->region.base);
}
