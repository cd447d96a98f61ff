#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <random>

Coordinates threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

Schedule schedule;
Counts counts;
Thread* running;
const Launch* launched;

std::vector<Entry>& entries() {
  static std::vector<Entry>& all = *new std::vector<Entry>;
  return all;
}

namespace {

std::string& text = *new std::string;
bool faulted;
Fiber scheduler;
std::mt19937_64 dice;
uint64_t polls;  // since anybody did anything else

// Threads that could go on, in the order that the schedule's seed makes of them.
class ReadyThreads {
 public:
  size_t size() const { return threads_.size(); }
  void clear() { threads_.clear(); }
  void add(Thread& t) { threads_.push_back(&t); }
  // A thread that could go on, but lets the others go first.
  void add_last(Thread& t) {
    if (schedule.seed == 1) {
      threads_.push_front(&t);
    } else {
      threads_.push_back(&t);
    }
  }
  Thread* take() {
    if (threads_.empty()) return nullptr;
    if (schedule.seed > 1) std::swap(threads_[dice() % threads_.size()], threads_.back());
    const bool first = schedule.seed == 0;
    Thread* const t = first ? threads_.front() : threads_.back();
    if (first) {
      threads_.pop_front();
    } else {
      threads_.pop_back();
    }
    return t;
  }

 private:
  std::deque<Thread*> threads_;
};
ReadyThreads& ready = *new ReadyThreads;

auto& resident = *new std::vector<std::unique_ptr<Cluster>>;

void run_thread() {
  launched->entry->call(launched->parameters);
  Thread& t = *running;
  t.doing = Doing::kDone;
  progress();
  if (--t.block->live == 0) {
    check_end(*t.block);
    check_copies_without(*t.block);
  }
  --t.block->cluster->live;
  check_warp_without(t);
  check_block_without(*t.block);
  check_cluster_without(*t.block->cluster);
  Fiber::change(t.fiber, scheduler);
  abort();
}

void enter(Thread& t) {
  if (t.doing == Doing::kNew) {
    t.stack = take_stack();
    t.fiber.prepare(t.stack, run_thread);
  }
  t.doing = Doing::kReady;
  running = &t;
  threadIdx = t.index;
  blockIdx = t.block->index;
  ++counts.switches;
}

// Which of n clusters comes to the machine as the i-th one.
class Dispatch {
 public:
  explicit Dispatch(uint64_t n) : n_(n) {
    if (schedule.seed == 1) {
      factor_ = n - 1, first_ = n - 1;
    } else if (schedule.seed > 1) {
      first_ = dice() % n;
      do {
        factor_ = dice() % n + 1;
      } while (std::gcd(factor_, n) != 1);
    }
  }
  uint64_t operator()(uint64_t i) const {
    return uint64_t((static_cast<unsigned __int128>(factor_) * i + first_) % n_);
  }

 private:
  uint64_t n_, factor_ = 1, first_ = 0;
};

unsigned volume(const Coordinates& c) { return c.x * c.y * c.z; }

Coordinates coordinates(uint64_t i, const Coordinates& of) {
  return {unsigned(i % of.x), unsigned(i / of.x % of.y), unsigned(i / of.x / of.y)};
}

// Room for clusters of this launch; what fits an earlier one is taken over.
void make_room(size_t clusters, unsigned blocks, unsigned threads) {
  const bool fits = !resident.empty() && resident[0]->blocks.size() == blocks &&
                    resident[0]->threads.size() == size_t{blocks} * threads;
  if (!fits) resident.clear();
  for (size_t i = resident.size(); i < clusters; ++i) {
    auto c = std::make_unique<Cluster>();
    c->blocks.resize(blocks);
    c->threads = std::vector<Thread>(size_t{blocks} * threads);
    for (unsigned b = 0; b < blocks; ++b) {
      c->shared.push_back(std::make_unique<SharedMemory>(unsigned(i * blocks + b)));
    }
    resident.push_back(std::move(c));
  }
}

void start(Cluster& c, uint64_t number) {
  const Launch& g = *launched;
  const Coordinates& of = g.entry->cluster;
  const Coordinates at = coordinates(number, {g.grid.x / of.x, g.grid.y / of.y, g.grid.z / of.z});
  const unsigned size = volume(g.block);
  c.live = unsigned(c.threads.size());
  c.arrived = 0;
  c.barriers = 0;
  c.relaxed = false;
  for (unsigned rank = 0; rank < c.blocks.size(); ++rank) {
    Block& b = c.blocks[rank];
    const Coordinates within = coordinates(rank, of);
    b.index = {at.x * of.x + within.x, at.y * of.y + within.y, at.z * of.z + within.z};
    b.id = uint32_t(number * c.blocks.size() + rank);
    b.rank = rank;
    b.live = b.size = size;
    b.arrived = 0;
    b.cluster = &c;
    b.mbarriers.clear();
    b.copies = 0;
    b.threads = &c.threads[size_t{rank} * size];
    b.shared = c.shared[rank].get();
    order_start(b);
    b.shared->start(g.dynamic_shared, clock_now());
    for (unsigned i = 0; i < size; ++i) {
      Thread& t = b.threads[i];
      t.index = coordinates(i, g.block);
      t.block = &b;
      t.number = i;
      t.id = b.id * size + i;
      t.doing = Doing::kNew;
      t.arrived_at_cluster = false;
      t.polls = 0;
      order_start(t);
      ready.add(t);
    }
  }
}

const char* describe(Doing d) {
  switch (d) {
    case Doing::kInWarp:
      return "in a warp operation";
    case Doing::kAtBlockBarrier:
      return "at a block barrier";
    case Doing::kAtClusterBarrier:
      return "at a cluster barrier";
    case Doing::kAtMbarrier:
      return "at an mbarrier";
    default:
      return "reading what nobody writes";
  }
}

// Where the first few threads are that have not ended, each place once.
std::string waiting_places(size_t clusters) {
  std::string places;
  std::vector<int> lines;
  for (size_t i = 0; i < clusters; ++i) {
    for (const Thread& t : resident[i]->threads) {
      if (t.doing == Doing::kDone || t.doing == Doing::kNew) continue;
      const bool spins = t.doing == Doing::kReady;
      const int line = spins ? 0 : t.place.line;
      if (lines.size() == 4 || std::count(lines.begin(), lines.end(), line) > 0) continue;
      lines.push_back(line);
      places += "; " + name_of(t) + " " + describe(t.doing);
      if (!spins) places += " " + std::string(t.place.file) + ":" + std::to_string(line);
      if (t.doing == Doing::kAtMbarrier) {
        places += " that misses " + std::to_string(t.awaited->missing) + " arrivals and " +
                  std::to_string(t.awaited->expected) + " bytes";
      }
    }
  }
  return places;
}

size_t resident_clusters;

void fail(const std::string& what) {
  if (faulted) return;
  faulted = true;
  text = std::string(launched->entry->name) + ": " + what;
}

}  // namespace

const std::string& fault_text() { return text; }

std::string name_of(const Thread& t) {
  char name[120];
  const Coordinates &b = t.block->index, &i = t.index;
  snprintf(name, sizeof name, "block (%u,%u,%u) thread (%u,%u,%u)", b.x, b.y, b.z, i.x, i.y, i.z);
  return name;
}

Block* resident_block(unsigned slot) {
  const size_t blocks = resident[0]->blocks.size();
  return slot / blocks < resident.size() ? &resident[slot / blocks]->blocks[slot % blocks]
                                         : nullptr;
}

void fault(const char* format, ...) {
  char what[600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  if (!running) {
    fprintf(stderr, "emulator: %s\n", what);
    abort();
  }
  fail(what + (" [" + name_of(*running) + "]"));
  Fiber::change(running->fiber, scheduler);
  abort();
}

// Who goes on; copies may come before. Null: nobody, and no copy is under way.
static Thread* take_ready() {
  copies_come(false);
  while (ready.size() == 0 && copies_come(true)) continue;
  return ready.take();
}

void wait(Doing what) {
  Thread& self = *running;
  self.doing = what;
  Thread* const next = take_ready();
  if (next == &self) {
    self.doing = Doing::kReady;
    return;
  }
  if (next) {
    enter(*next);
    Fiber::change(self.fiber, next->fiber);
  } else {
    Fiber::change(self.fiber, scheduler);
  }
}

void wake(Thread& t) {
  t.doing = Doing::kReady;
  ready.add(t);
}

void pause() {
  if (!running) return;
  if (ready.size() == 0) copies_come(true);
  if (ready.size() == 0) return;
  ready.add_last(*running);
  wait(Doing::kReady);
}

void progress() {
  polls = 0;
  if (running) running->polls = 0;
}

void progress_by_reading() {
  if (running->polls < 100) polls = 0;
}

void poll() {
  ++running->polls;
  if (++polls < 1000 * (ready.size() + 10)) return;
  if (copies_come(true)) return;
  fail("deadlock, every thread waits for another" + waiting_places(resident_clusters));
  Fiber::change(running->fiber, scheduler);
}

bool run(const Launch& launch) {
  ++counts.launches;
  faulted = false;
  text.clear();
  launched = &launch;
  blockDim = launch.block;
  gridDim = launch.grid;
  dice.seed(schedule.seed);
  polls = 0;
  ready.clear();
  start_without_copies();
  order_launch();

  const unsigned blocks = volume(launch.entry->cluster), threads = volume(launch.block);
  const uint64_t clusters = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z / blocks;
  const Dispatch dispatch(clusters);
  resident_clusters = size_t(std::min<uint64_t>(clusters, std::max(1u, launch.resident / blocks)));
  make_room(resident_clusters, blocks, threads);
  uint64_t next = 0;
  while (next < resident_clusters) {
    Cluster& c = *resident[next];
    start(c, dispatch(next++));
  }
  while (Thread* const t = take_ready()) {
    enter(*t);
    Fiber::change(scheduler, t->fiber);
    Thread& last = *running;
    running = nullptr;
    if (faulted) break;
    if (last.doing != Doing::kDone) continue;
    give_back(last.stack);
    last.stack = {};
    Cluster& c = *last.block->cluster;
    if (c.live == 0 && next < clusters) start(c, dispatch(next++));
  }
  for (size_t i = 0; i < resident_clusters; ++i) {
    if (!faulted && resident[i]->live > 0) {
      fail("deadlock, nobody can go on" + waiting_places(resident_clusters));
    }
    for (Thread& t : resident[i]->threads) {
      if (t.stack.low) give_back(t.stack);
      t.stack = {};
    }
  }
  launched = nullptr;
  return !faulted;
}

}  // namespace emulator
