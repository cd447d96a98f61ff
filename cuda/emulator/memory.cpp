#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <memory>

#include "language.h"

namespace emulator {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kArena = size_t{1} << 40;
// NaN as a float of any size, an absurd number as an integer.
constexpr int kPoison = 0xff;

char* reserve(size_t bytes) {
  void* const p =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    perror("emulator: no address space");
    abort();
  }
  return static_cast<char*>(p);
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

char* arena;
size_t arena_used;
auto& regions = *new std::map<const char*, std::unique_ptr<Region>>;
size_t live_count;

// Kernels walk through few allocations at a time: the map is asked once for a page.
struct Recent {
  uintptr_t page;
  Region* region;
};
Recent recent[256];

char* shared_pool;
unsigned shared_slots;
constexpr unsigned kMaxSlots = 4096;

}  // namespace

void Region::mark(const void* p, size_t n, State s) {
  if (!state.empty()) std::fill_n(state.begin() + (static_cast<const char*>(p) - base), n, s);
}

Accesses* Region::granules(size_t offset, size_t n) {
  size_t needed = granule;
  while (offset % needed != 0 || n % needed != 0) needed /= 2;
  if (seen.empty()) {
    granule = needed;
    seen.resize(bytes / granule + 1);
  } else if (needed < granule) {
    std::vector<Accesses> finer;
    finer.reserve(seen.size() * (granule / needed));
    for (const Accesses& a : seen) finer.insert(finer.end(), granule / needed, a);
    seen.swap(finer);
    granule = needed;
  }
  return &seen[offset / granule];
}

void* allocate(size_t bytes, int device) {
  if (!arena) arena = reserve(kArena);
  const size_t mapped = whole_pages(bytes);
  if (mapped > kArena || arena_used > kArena - mapped - kPage) return nullptr;
  char* const base = arena + arena_used;
  if (mprotect(base, mapped, PROT_READ | PROT_WRITE) != 0) return nullptr;
  arena_used += mapped + kPage;
  memset(base, kPoison, mapped);
  auto region = std::make_unique<Region>();
  region->base = base;
  region->bytes = bytes;
  region->device = device;
  region->live = true;
  if (checked) region->state.assign(bytes, kUnwritten);
  regions[base] = std::move(region);
  memset(recent, 0, sizeof recent);
  ++live_count;
  return base;
}

bool release(void* p) {
  const auto at = regions.find(static_cast<char*>(p));
  if (at == regions.end() || !at->second->live) return false;
  Region& r = *at->second;
  r.live = false;
  r.state = {};
  r.seen = {};
  const size_t mapped = whole_pages(r.bytes);
  madvise(r.base, mapped, MADV_DONTNEED);
  mprotect(r.base, mapped, PROT_NONE);
  --live_count;
  return true;
}

void release_all(int device) {
  for (const auto& [base, r] : regions) {
    if (r->live && r->device == device) release(r->base);
  }
}

Region* find(const void* p) {
  const char* const address = static_cast<const char*>(p);
  if (!arena || size_t(address - arena) >= arena_used) return nullptr;
  const uintptr_t page = reinterpret_cast<uintptr_t>(p) / kPage;
  Recent& slot = recent[page % 256];
  if (slot.page != page) {
    auto after = regions.upper_bound(address);
    slot = {page, std::prev(after)->second.get()};
  }
  return slot.region;
}

Region* find_live(const void* p, size_t bytes) {
  Region* const r = find(p);
  return r && r->live && r->holds(p, bytes) ? r : nullptr;
}

void copy_state(void* to, const void* from, size_t bytes) {
  if (!checked || bytes == 0) return;
  Region* const t = find(to);
  const Region* const f = find(from);
  const auto first = f->state.begin() + (static_cast<const char*>(from) - f->base);
  std::vector<State> copy(first, first + ptrdiff_t(bytes));
  std::copy(copy.begin(), copy.end(), t->state.begin() + (static_cast<char*>(to) - t->base));
}

size_t bytes_in_use(int device) {
  size_t sum = 0;
  for (const auto& [base, r] : regions) {
    if (r->live && r->device == device) sum += r->bytes;
  }
  return sum;
}

size_t live_allocations() { return live_count; }

SharedMemory::SharedMemory(unsigned slot) {
  if (!shared_pool) shared_pool = reserve(kMaxSlots * kStride);
  if (slot >= kMaxSlots) {
    fprintf(stderr, "emulator: more than %u blocks at a time\n", kMaxSlots);
    abort();
  }
  region.base = shared_pool + slot * kStride;
  region.bytes = kStatic + kDynamic;
  region.live = true;
  if (mprotect(region.base, region.bytes, PROT_READ | PROT_WRITE) != 0) abort();
  if (checked) region.state.assign(region.bytes, kOutside);
  shared_slots = std::max(shared_slots, slot + 1);
}

void SharedMemory::start(size_t dynamic, uint64_t now) {
  region.mark(region.base, used_, kOutside);
  region.mark(region.base + kStatic, dynamic_, kOutside);
  region.born = now;
  arrays_.clear();
  used_ = 0;
  dynamic_ = dynamic;
  region.mark(region.base + kStatic, dynamic, kUnwritten);
  memset(region.base + kStatic, kPoison, dynamic);
}

void* SharedMemory::array(const void* tag, size_t bytes, size_t alignment) {
  for (const Array& a : arrays_) {
    if (a.tag == tag) return region.base + a.offset;
  }
  constexpr size_t kGap = 64;
  const size_t offset = (used_ + alignment - 1) / alignment * alignment;
  if (offset + bytes + kGap > kStatic) {
    fault("more than %zu bytes of static shared memory", kStatic);
  }
  arrays_.push_back({tag, offset});
  used_ = offset + bytes + kGap;
  memset(region.base + offset, kPoison, bytes);
  region.mark(region.base + offset, bytes, kUnwritten);
  return region.base + offset;
}

int SharedMemory::slot(const void* p) {
  const size_t offset = size_t(static_cast<const char*>(p) - shared_pool);
  return shared_pool && offset < shared_slots * kStride ? int(offset / kStride) : -1;
}

}  // namespace emulator
