// Atomics, fences and words that carry order from block to block. Other threads may come before
// each of them. Built without instrumentation: what they touch is reported to the checks by hand.

#include <chrono>

#include "access.h"
#include "blocks.h"
#include "machine.h"

namespace emulator {

void fence() {
  pause();
  order_fence(*running);
}

template <class T>
T atomic(Atomic operation, T* p, T value, T expected) {
  pause();
  check_access(p, sizeof(T), Touch::kAtomicRead);
  check_access(p, sizeof(T), Touch::kAtomicWrite);
  order_relaxed_read(*running, p);
  order_relaxed_write(*running, p, true);
  const T before = *p;
  T after = before;
  switch (operation) {
    case Atomic::kAdd:
      after = T(before + value);
      break;
    case Atomic::kExchange:
      after = value;
      break;
    case Atomic::kMin:
      after = value < before ? value : before;
      break;
    case Atomic::kMax:
      after = before < value ? value : before;
      break;
    case Atomic::kIncrement:
      after = before >= value ? T(0) : T(before + 1);
      break;
    case Atomic::kCompareAndSwap:
      after = before == expected ? value : before;
      break;
  }
  if (to_bits(before) == to_bits(after)) {
    poll();
  } else {
    *p = after;
    progress();
  }
  return before;
}
template int atomic(Atomic, int*, int, int);
template unsigned atomic(Atomic, unsigned*, unsigned, unsigned);
template unsigned long long atomic(Atomic, unsigned long long*, unsigned long long,
                                   unsigned long long);
template float atomic(Atomic, float*, float, float);
template double atomic(Atomic, double*, double, double);

}  // namespace emulator

using namespace emulator;

unsigned load_acquire(const unsigned* p) {
  pause();
  poll();
  check_access(p, sizeof *p, Touch::kAtomicRead);
  order_acquire(*running, p);
  return *p;
}

void store_release(unsigned* p, unsigned v) {
  pause();
  check_access(p, sizeof *p, Touch::kAtomicWrite);
  order_release(*running, p);
  *p = v;
  progress();
}

long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
