// Mbarriers, and copies that run beside the threads: from global to shared memory, and single
// values to a peer of the cluster. What a copy touches is checked when it starts; its bytes move
// when the schedule lets them come.

#include <string.h>

#include <deque>
#include <random>

#include "access.h"
#include "blocks.h"
#include "machine.h"

namespace emulator {

namespace {

struct Copy {
  Block* owner;  // of the memory it goes to
  Mbarrier* counter;
  char* to;
  const char* from;  // null: the value
  uint64_t value;
  size_t bytes;
};

std::deque<Copy>& under_way = *new std::deque<Copy>;
std::mt19937_64 dice;

// The running block's mbarrier, or what a peer has there.
Mbarrier& find(Block& owner, const uint64_t* p, Place at) {
  const Region& own = running->block->shared->region;
  const char* const address = reinterpret_cast<const char*>(p);
  if (!own.holds(address, sizeof *p) || address < own.base) {
    fault("mbarrier at %s:%d: no address of this block's shared memory", at.file, at.line);
  }
  const auto found = owner.mbarriers.find(size_t(address - own.base));
  if (found == owner.mbarriers.end()) {
    fault("mbarrier at %s:%d: it was not initialised", at.file, at.line);
  }
  return found->second;
}

// For a thread of its block.
Mbarrier& known(const uint64_t* p, Place at) {
  Mbarrier& m = find(*running->block, p, at);
  if (!order_mbarrier_known(m.order)) {
    fault("race on an mbarrier at %s:%d: not ordered after its initialisation", at.file, at.line);
  }
  return m;
}

void check_counts(const Mbarrier& m, Place at) {
  if (m.missing > 0 || m.under_way <= m.expected) return;
  fault("mbarrier at %s:%d: %lld bytes are under way, %lld are expected", at.file, at.line,
        static_cast<long long>(m.under_way), static_cast<long long>(m.expected));
}

void end_phase_if_complete(Block& owner, Mbarrier& m) {
  if (m.missing > 0 || m.expected != 0) return;
  m.missing = m.size;
  ++m.phases;
  order_mbarrier_phase(m.order);
  for (unsigned i = 0; i < owner.size; ++i) {
    Thread& t = owner.threads[i];
    if (t.doing == Doing::kAtMbarrier && t.awaited == &m) wake(t);
  }
}

void arrive(uint64_t* p, int64_t bytes, Place at) {
  Mbarrier& m = known(p, at);
  progress();
  if (m.missing == 0) {
    fault("mbarrier at %s:%d: more than %u arrivals in a phase", at.file, at.line, m.size);
  }
  --m.missing;
  m.expected += bytes;
  order_mbarrier_arrive(m.order);
  check_counts(m, at);
  end_phase_if_complete(*running->block, m);
}

void start(const Copy& c, Place at) {
  progress();
  c.counter->under_way += int64_t(c.bytes);
  ++c.owner->copies;
  check_counts(*c.counter, at);
  under_way.push_back(c);
  copies_come(false);
}

void come() {
  const size_t i = schedule.seed > 1 ? dice() % under_way.size() : 0;
  const Copy c = under_way[i];
  under_way.erase(under_way.begin() + ptrdiff_t(i));
  memcpy(c.to, c.from ? c.from : reinterpret_cast<const char*>(&c.value), c.bytes);
  c.counter->under_way -= int64_t(c.bytes);
  c.counter->expected -= int64_t(c.bytes);
  --c.owner->copies;
  progress();
  end_phase_if_complete(*c.owner, *c.counter);
}

}  // namespace

bool copies_come(bool must) {
  if (under_way.empty()) return false;
  if (schedule.seed == 0) must = true;
  if (!must && (schedule.seed == 1 || dice() % 4 != 0)) return false;
  come();
  return true;
}

void start_without_copies() {
  under_way.clear();
  dice.seed(schedule.seed);
}

void check_copies_without(const Block& b) {
  bool known = b.copies == 0;
  for (const auto& [offset, m] : b.mbarriers) known = known && order_copy_known(m.order);
  if (known) return;
  fault("block %u of the cluster ends, and copies to its shared memory may be under way", b.rank);
}

}  // namespace emulator

using namespace emulator;

void mbarrier_init(uint64_t* p, unsigned arrivals, Place at) {
  Block& b = *running->block;
  const Region& r = b.shared->region;
  const char* const address = reinterpret_cast<const char*>(p);
  if (!r.holds(address, sizeof *p) || reinterpret_cast<uintptr_t>(p) % sizeof *p != 0) {
    fault("mbarrier_init at %s:%d: no aligned address of this block's shared memory", at.file,
          at.line);
  }
  Mbarrier m{};
  m.size = m.missing = arrivals;
  order_mbarrier_init(m.order);
  if (arrivals == 0 || !b.mbarriers.emplace(size_t(address - r.base), m).second) {
    fault("mbarrier_init at %s:%d: %s", at.file, at.line,
          arrivals == 0 ? "for nobody" : "a second time");
  }
}

void mbarrier_publish() {
  const Thread& t = *running;
  for (auto& [offset, m] : t.block->mbarriers) {
    if (m.order.made.thread != t.id || m.published) continue;
    m.published = true;
    m.barriers = t.block->cluster->barriers;
    if (t.arrived_at_cluster && t.arrival == m.barriers) ++m.barriers;
  }
}

void mbarrier_arrive(uint64_t* p, Place at) { arrive(p, 0, at); }

void mbarrier_expect(uint64_t* p, unsigned bytes, Place at) { arrive(p, bytes, at); }

void mbarrier_wait(uint64_t* p, unsigned parity, bool cluster, Place at) {
  Thread& t = *running;
  const Mbarrier& m = known(p, at);
  progress();
  t.place = at;
  t.awaited = &m;
  while (m.phases % 2 == parity % 2) wait(Doing::kAtMbarrier);
  order_mbarrier_wait(m.order, cluster);
}

void copy_to_shared(Packed* to, const Packed* from, unsigned bytes, uint64_t* p, Place at) {
  Block& b = *running->block;
  Mbarrier& m = known(p, at);
  if (!m.published) {
    fault("copy_to_shared at %s:%d: its mbarrier was not published", at.file, at.line);
  }
  const auto wrong = [](const void* a) { return reinterpret_cast<uintptr_t>(a) % 16 != 0; };
  if (wrong(to) || wrong(from) || bytes % 16 != 0 || bytes == 0) {
    fault("copy_to_shared at %s:%d: misaligned, %u bytes from %p to %p", at.file, at.line, bytes,
          static_cast<const void*>(from), static_cast<void*>(to));
  }
  if (!b.shared->region.holds(to, bytes)) {
    fault("copy_to_shared at %s:%d: not to this block's shared memory", at.file, at.line);
  }
  check_access(from, bytes, Touch::kRead, false, &m.order.copies);
  check_access(to, bytes, Touch::kWrite, false, &m.order.copies);
  m.order.started = m.order.copies;
  start({&b, &m, reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), 0, bytes}, at);
}

void store_to_peer(double* mine, double v, uint64_t* p, unsigned rank, Place at) {
  Block& b = *running->block;
  double* const to = cluster_peer(mine, rank, at);
  Block& owner = b.cluster->blocks[rank];
  if (owner.live == 0) {
    fault("store_to_peer at %s:%d: block %u of the cluster has ended", at.file, at.line, rank);
  }
  Mbarrier& m = find(owner, p, at);
  if (!m.published || (&owner != &b && owner.cluster->barriers <= m.barriers)) {
    fault("store_to_peer at %s:%d: the mbarrier of block %u was not published", at.file, at.line,
          rank);
  }
  check_access(to, sizeof v, Touch::kWrite, true, &m.order.stores);
  order_mbarrier_send(m.order);
  start({&owner, &m, reinterpret_cast<char*>(to), nullptr, to_bits(v), sizeof v}, at);
}
