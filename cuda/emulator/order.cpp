#include "order.h"

#include <algorithm>

#include "machine.h"
#include "memory.h"

namespace emulator {

namespace {

uint64_t now = 1;
uint64_t launch_start;
auto& told = *new std::unordered_map<const void*, Knowledge>;  // by the writers of an address

void raise(std::unordered_map<uint32_t, uint64_t>& known, uint32_t who, uint64_t time) {
  uint64_t& t = known[who];
  t = std::max(t, time);
}

bool knows(const std::unordered_map<uint32_t, uint64_t>& known, uint32_t who, uint64_t time) {
  const auto at = known.find(who);
  return at != known.end() && time < at->second;
}

bool knows(const Knowledge& k, const Access& a) {
  return knows(k.blocks, a.block, a.time) || knows(k.threads, a.thread, a.time);
}

// Everything that comes before what the thread does next.
Knowledge all_known(const Thread& t) {
  const Block& b = *t.block;
  Knowledge k = b.order.known;
  k.join(t.order.known);
  const uint64_t met = b.cluster->order.last;
  if (met > 0) {
    for (const Block& peer : b.cluster->blocks) raise(k.blocks, peer.id, met);
  }
  if (b.order.barrier > 0) raise(k.blocks, b.id, b.order.barrier);
  const uint32_t lane0 = t.id - t.lane();
  for (unsigned lane = 0; lane < b.warp_size(t.number / 32); ++lane) {
    if (t.order.lanes[lane] > 0) raise(k.threads, lane0 + lane, t.order.lanes[lane]);
  }
  raise(k.threads, t.id, ++now);
  return k;
}

bool ordered(const Access& a, const Region& r, const Thread& t) {
  if (a.thread == t.id || a.time < launch_start || a.time < r.born) return true;
  const Block& b = *t.block;
  const Cluster& c = *b.cluster;
  if (a.block == b.id) {
    if (a.time < b.order.barrier) return true;
    const uint32_t lane0 = t.id - t.lane();
    if (a.thread - lane0 < 32 && a.time < t.order.lanes[a.thread - lane0]) return true;
  }
  if (a.block - c.blocks[0].id < c.blocks.size() &&
      a.time < (a.before_cluster ? c.order.before_last : c.order.last)) {
    return true;
  }
  return knows(t.order.known, a) || knows(b.order.known, a);
}

[[noreturn]] void race(const Region& r, size_t offset, const char* what, const Access& other,
                       const char* earlier) {
  const unsigned size = running->block->size;
  const char* const memory = r.device < 0 ? "shared memory" : "device memory";
  if (other.block == kNoBlock) {
    fault("race on %s, offset %zu: %s, not ordered after a copy's %s", memory, offset, what,
          earlier);
  }
  if (other.block == running->block->id) {
    fault("race on %s, offset %zu: %s, not ordered after a %s by thread %u of the same block",
          memory, offset, what, earlier, other.thread % size);
  }
  fault("race on %s, offset %zu: %s, not ordered after a %s by thread %u of another block", memory,
        offset, what, earlier, other.thread % size);
}

}  // namespace

void Knowledge::clear() {
  blocks.clear();
  threads.clear();
}

void Knowledge::join(const Knowledge& other) {
  for (const auto& [who, time] : other.blocks) raise(blocks, who, time);
  for (const auto& [who, time] : other.threads) raise(threads, who, time);
}

uint64_t clock_now() { return now; }

void order_launch() {
  launch_start = ++now;
  told.clear();
}

void order_start(Thread& t) {
  if (checked) t.order = ThreadOrder();
}

void order_start(Block& b) {
  b.order = BlockOrder();
  b.cluster->order = ClusterOrder();
  ++now;
}

void order_block_barrier(Block& b) {
  if (!checked) return;
  b.order.barrier = ++now;
  for (unsigned i = 0; i < b.size; ++i) {
    ThreadOrder& t = b.threads[i].order;
    b.order.over.join(t.over);
    t.over.clear();
    if (t.known.empty()) continue;
    b.order.known.join(t.known);
    t.known.clear();
  }
}

void order_cluster_barrier(Cluster& c, bool relaxed) {
  if (!checked) return;
  const uint64_t before = c.order.newest;
  c.order.newest = ++now;
  if (relaxed) return;
  c.order.before_last = before;
  c.order.last = now;
  Knowledge all;
  for (const Block& b : c.blocks) all.join(b.order.known);
  for (const Thread& t : c.threads) all.join(t.order.known);
  for (Block& b : c.blocks) b.order.known = all;
}

void order_warp_barrier(Block& b, unsigned warp, unsigned mask) {
  if (!checked) return;
  ++now;
  ThreadOrder all;
  for (unsigned i = 0; i < b.warp_size(warp); ++i) {
    if (!(mask >> i & 1)) continue;
    const ThreadOrder& t = b.threads[32 * warp + i].order;
    for (unsigned j = 0; j < 32; ++j) all.lanes[j] = std::max(all.lanes[j], t.lanes[j]);
    all.known.join(t.known);
    all.over.join(t.over);
  }
  for (unsigned i = 0; i < 32; ++i) {
    if (mask >> i & 1) all.lanes[i] = now;
  }
  for (unsigned i = 0; i < b.warp_size(warp); ++i) {
    if (!(mask >> i & 1)) continue;
    ThreadOrder& t = b.threads[32 * warp + i].order;
    std::copy(all.lanes, all.lanes + 32, t.lanes);
    t.known = all.known;
    t.over = all.over;
  }
}

void order_fence(Thread& t) {
  if (!checked) return;
  t.order.known.join(t.order.until_fence);
  t.order.until_fence.clear();
  t.order.at_fence = all_known(t);
}

void order_acquire(Thread& t, const void* p) {
  if (checked) t.order.known.join(told[p]);
}

void order_release(Thread& t, const void* p) {
  if (checked) told[p] = all_known(t);
}

void order_relaxed_read(Thread& t, const void* p) {
  if (checked) t.order.until_fence.join(told[p]);
}

void order_relaxed_write(Thread& t, const void* p, bool part_of_chain) {
  if (!checked) return;
  if (part_of_chain) {
    told[p].join(t.order.at_fence);
  } else {
    told[p] = t.order.at_fence;
  }
}

static Access of_copies() {
  static uint32_t number = 0;
  return {~++number, kNoBlock, 0, false, false};
}

static void new_phase(MbarrierOrder& m) {
  m.copies = of_copies();
  m.stores = of_copies();
  m.copies.time = m.stores.time = ++now;
}

static Access access_now(bool atomic) {
  const Thread& t = *running;
  const bool before_cluster = t.arrived_at_cluster && t.arrival == t.block->cluster->barriers;
  return {t.id, t.block->id, now, atomic, before_cluster};
}

void order_mbarrier_init(MbarrierOrder& m) {
  m.made = access_now(false);
  new_phase(m);
}

void order_mbarrier_arrive(MbarrierOrder& m) {
  if (checked) m.arrived.join(all_known(*running));
}

void order_mbarrier_send(MbarrierOrder& m) {
  if (!checked) return;
  m.sent.join(all_known(*running));
  m.sent.join(running->order.over);
  m.sent.join(running->block->order.over);
}

void order_mbarrier_phase(MbarrierOrder& m) {
  if (!checked) return;
  raise(m.arrived.threads, m.copies.thread, ++now);
  m.told = m.arrived;
  m.told_by_peers.clear();
  raise(m.told_by_peers.threads, m.stores.thread, now);
  m.told_over = m.sent;
  m.arrived.clear();
  m.sent.clear();
  new_phase(m);
}

void order_mbarrier_wait(const MbarrierOrder& m, bool cluster) {
  if (!checked) return;
  running->order.known.join(m.told);
  if (!cluster) return;
  running->order.known.join(m.told_by_peers);
  running->order.over.join(m.told_over);
}

bool order_mbarrier_known(const MbarrierOrder& m) {
  return !checked || ordered(m.made, running->block->shared->region, *running);
}

bool order_copy_known(const MbarrierOrder& m) {
  return !checked || ordered(m.started, running->block->shared->region, *running);
}

void order_peer(Block& owner, const Access* by) {
  owner.order.from_peer = by ? *by : access_now(false);
}

void check_end(const Block& b) {
  const Access& a = b.order.from_peer;
  if (!checked || ordered(a, b.shared->region, *running)) return;
  fault(
      "block %u of the cluster ends, not ordered after an access to its shared memory by thread "
      "%u of another block",
      b.rank, a.thread % b.size);
}

void check_race(Region& r, size_t offset, size_t bytes, bool write, bool atomic, const Access* by) {
  const Thread& t = *running;
  const Access access = by ? *by : access_now(atomic);
  const auto overwritable = [&](const Access& a) {
    return ordered(a, r, t) || knows(t.order.over, a) || knows(t.block->order.over, a);
  };
  Accesses* a = r.granules(offset, bytes);
  for (size_t i = 0; i < bytes; i += r.granule, ++a) {
    const Access& w = a->write;
    if (!(w.atomic && atomic) &&
        !(write && w.block == kNoBlock ? overwritable(w) : ordered(w, r, t))) {
      race(r, offset + i, write ? "write" : "read", w, w.atomic ? "atomic write" : "write");
    }
    if (write) {
      for (const Access& read : a->read) {
        if (!(read.atomic && atomic) && !overwritable(read)) {
          race(r, offset + i, "write", read, "read");
        }
      }
      *a = {access, {}};
    } else if (ordered(a->read[0], r, t)) {
      a->read[0] = access;
    } else {
      a->read[1] = access;
    }
  }
}

}  // namespace emulator
