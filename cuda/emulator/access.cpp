// The checks of memory. The kernels alone are compiled with -fsanitize=thread, which calls the
// functions at the end of this file before each access to memory that others may see; no run time
// of a sanitizer is linked, so that the library loads into a JVM like any other.
//
// Not seen: accesses that the compiler removed, and the kernels' own stacks.

#include "access.h"

#include <stdio.h>

#include "machine.h"

// The first and the last address of this library.
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start, _end;

namespace emulator {

namespace {

bool own_constant(const void* p) {
  return static_cast<const char*>(p) >= &__ehdr_start && static_cast<const char*>(p) < &_end;
}

struct What {
  const char* p;
  size_t bytes;
  bool write, atomic;
  const Access* by;
  const char* verb() const { return write ? "write" : "read"; }
};

void check_bytes(Region& r, const What& a, bool aligned) {
  const size_t offset = size_t(a.p - r.base);
  const char* const memory = r.device < 0 ? "shared memory" : "device memory";
  if (aligned && reinterpret_cast<uintptr_t>(a.p) % a.bytes != 0) {
    fault("misaligned %s of %zu bytes at %p in %s", a.verb(), a.bytes,
          static_cast<const void*>(a.p), memory);
  }
  for (size_t i = offset; i < offset + a.bytes; ++i) {
    if (r.state[i] == kOutside) {
      fault("out of bounds: %s of %zu bytes in shared memory outside any array", a.verb(), a.bytes);
    }
    if (a.write) {
      r.state[i] = kWritten;
    } else if (r.state[i] == kUnwritten) {
      fault("uninitialised: read of %zu bytes at offset %zu of %s, byte %zu was never written",
            a.bytes, offset, memory, i);
    }
  }
  check_race(r, offset, a.bytes, a.write, a.atomic, a.by);
}

void check_device(Region& r, const What& a, bool aligned) {
  const ptrdiff_t offset = a.p - r.base;
  if (!r.holds(a.p, a.bytes)) {
    fault("out of bounds: %s of %zu bytes at offset %td of an allocation of %zu bytes", a.verb(),
          a.bytes, offset, r.bytes);
  }
  if (!r.live) {
    fault("use after free: %s of %zu bytes at offset %td of an allocation of %zu bytes", a.verb(),
          a.bytes, offset, r.bytes);
  }
  if (r.device != launched->device) {
    fault("%s of memory of device %d on device %d", a.verb(), r.device, launched->device);
  }
  check_bytes(r, a, aligned);
}

void check_shared(unsigned slot, const What& a, bool aligned) {
  Block* const owner = resident_block(slot);
  const Block& mine = *running->block;
  if (!owner || owner->cluster != mine.cluster) {
    fault("%s of shared memory of another cluster", a.verb());
  }
  if (owner != &mine && owner->live == 0) {
    fault("%s of shared memory of block %u of the cluster, which has ended", a.verb(), owner->rank);
  }
  if (owner != &mine && owner->cluster->barriers == 0) {
    fault(
        "%s of shared memory of block %u of the cluster before the first cluster barrier: the "
        "block may not have started",
        a.verb(), owner->rank);
  }
  if (owner != &mine) order_peer(*owner, a.by);
  Region& memory = owner->shared->region;
  if (!memory.holds(a.p, a.bytes)) {
    fault("out of bounds: %s of %zu bytes behind the shared memory", a.verb(), a.bytes);
  }
  check_bytes(memory, a, aligned);
}

}  // namespace

void check_access(const void* p, size_t bytes, Touch touch, bool aligned, const Access* by) {
  if (!checked || !kernel_runs()) return;
  Thread& t = *running;
  if (t.stack.holds(p) || own_constant(p)) return;
  ++counts.accesses;
  if (schedule.preempt > 0 && counts.accesses % schedule.preempt == 0) pause();
  const What a{static_cast<const char*>(p), bytes,
               touch == Touch::kWrite || touch == Touch::kAtomicWrite,
               touch == Touch::kAtomicRead || touch == Touch::kAtomicWrite, by};
  if (!a.atomic) a.write ? progress() : progress_by_reading();
  const int slot = SharedMemory::slot(p);
  if (slot >= 0) {
    check_shared(unsigned(slot), a, aligned);
  } else if (Region* const r = find(p)) {
    check_device(*r, a, aligned);
  } else {
    fault("out of bounds: %s of %zu bytes at %p, which belongs to no allocation", a.verb(), bytes,
          p);
  }
}

namespace {

// Volatile accesses are relaxed atomics: a thread that reads one may wait for another thread.
void volatile_read(const void* p, size_t bytes) {
  if (!kernel_runs() || running->stack.holds(p)) return;
  pause();
  poll();
  check_access(p, bytes, Touch::kAtomicRead);
  order_relaxed_read(*running, p);
}

void volatile_write(const void* p, size_t bytes) {
  if (!kernel_runs() || running->stack.holds(p)) return;
  pause();
  check_access(p, bytes, Touch::kAtomicWrite);
  order_relaxed_write(*running, p, false);
  progress();
}

}  // namespace
}  // namespace emulator

using emulator::check_access;
using emulator::Touch;

#define HOOKS(n)                                                                                   \
  extern "C" void __tsan_read##n(void* p) { check_access(p, n, Touch::kRead); }                    \
  extern "C" void __tsan_write##n(void* p) { check_access(p, n, Touch::kWrite); }                  \
  extern "C" void __tsan_unaligned_read##n(void* p) { check_access(p, n, Touch::kRead, false); }   \
  extern "C" void __tsan_unaligned_write##n(void* p) { check_access(p, n, Touch::kWrite, false); } \
  extern "C" void __tsan_volatile_read##n(void* p) { emulator::volatile_read(p, n); }              \
  extern "C" void __tsan_volatile_write##n(void* p) { emulator::volatile_write(p, n); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

extern "C" void __tsan_read_range(void* p, size_t n) { check_access(p, n, Touch::kRead, false); }
extern "C" void __tsan_write_range(void* p, size_t n) { check_access(p, n, Touch::kWrite, false); }
extern "C" void __tsan_init() {}
