// Device memory and the shared memory of blocks, with what is known of every byte.
//
// Addresses of device memory are never given out twice, so that a use after free stays visible as
// long as the process lives; the pages behind it go back at once.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace emulator {

// Whether this library was built with the memory checks.
extern const bool checked;

enum State : uint8_t { kOutside, kUnwritten, kWritten };

// One access of a kernel, to be held against later ones.
struct Access {
  uint32_t thread;      // in the grid
  uint32_t block;       // in the grid
  uint64_t time = 0;    // of the emulator's clock; 0: no access yet
  bool atomic;          // or volatile
  bool before_cluster;  // between a thread's arrival at a cluster barrier and the barrier's end
};

// The block of accesses that a copy makes, and no thread.
constexpr uint32_t kNoBlock = ~0u;

// What is remembered of a few bytes: the last write and two of the reads since. (All reads would
// be exact; with two, another schedule finds what one misses.)
struct Accesses {
  Access write, read[2];
};

struct Region {
  char* base = nullptr;
  size_t bytes = 0;
  int device = -1;  // -1: shared memory
  bool live = false;
  uint64_t born = 0;           // earlier accesses were those of another owner
  std::vector<State> state;    // of each byte; only with checks
  std::vector<Accesses> seen;  // of each granule; empty until a kernel comes
  size_t granule = 4;          // becomes smaller with the first smaller access

  bool holds(const void* p, size_t n) const {
    const size_t offset = size_t(static_cast<const char*>(p) - base);
    return offset <= bytes && n <= bytes - offset;
  }
  void mark(const void* p, size_t n, State s);
  // The granules from offset on, as small as an access of n bytes there needs them.
  Accesses* granules(size_t offset, size_t n);
};

// Null where the address space is used up.
void* allocate(size_t bytes, int device);
// False if p is not the start of a live allocation.
bool release(void* p);
void release_all(int device);
// The allocation, live or not, that p points into or closely behind; null: none.
Region* find(const void* p);
// The live allocation that holds all of these bytes, or null.
Region* find_live(const void* p, size_t bytes);
// Copies what is known of bytes that were copied.
void copy_state(void* to, const void* from, size_t bytes);

size_t bytes_in_use(int device);
size_t live_allocations();

// The shared memory of one block on the machine: static arrays from the start on, with gaps that
// nobody may touch, then the dynamic array.
class SharedMemory {
 public:
  static constexpr size_t kStatic = 64 << 10, kDynamic = 232 << 10;
  static constexpr size_t kStride = kStatic + kDynamic + (24 << 10);

  explicit SharedMemory(unsigned slot);
  // Forgets the last block; content and arrays are as on a GPU: undefined, and none.
  void start(size_t dynamic, uint64_t now);
  void* array(const void* tag, size_t bytes, size_t alignment);
  char* dynamic() { return region.base + kStatic; }

  Region region;
  // The slot that p points into, or -1.
  static int slot(const void* p);

 private:
  struct Array {
    const void* tag;
    size_t offset;
  };
  std::vector<Array> arrays_;
  size_t used_ = 0, dynamic_ = 0;
};

}  // namespace emulator
