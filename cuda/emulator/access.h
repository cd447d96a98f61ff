// What is checked of every access of a kernel to memory.
#pragma once

#include <stddef.h>

#include "memory.h"

namespace emulator {

enum class Touch { kRead, kWrite, kAtomicRead, kAtomicWrite };

// Faults unless the bytes belong to somebody, are aligned to their number, were written before they
// are read, and no other thread touches them at the same time. Does nothing without checks. `by`:
// who will touch them, if not the running thread itself.
void check_access(const void* p, size_t bytes, Touch touch, bool aligned = true,
                  const Access* by = nullptr);

}  // namespace emulator
