// The CUDA language for a plain C++ compiler, under CUDA's own names: what a kernel may use of it
// is declared here, anything else does not compile. Whoever runs kernels on the host defines it;
// the emulator does, in threads.cpp (coordinates, barriers, warps, clusters) and atomics.cpp.
//
// Modelled: one-, two- and three-dimensional grids, blocks and clusters; divergence of threads at
// any point; masks of warps; memory order between threads as far as fences and barriers give it.
// Not modelled: time, occupancy, fast math, fused multiply-adds that the source does not write.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct Coordinates {
  unsigned x, y, z;
};
extern Coordinates threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

// A line of a kernel, for reports.
struct Place {
  const char* file;
  int line;
  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Ends the launch with an error; the text is formatted as by printf.
[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

enum class Barrier : uint8_t { kPlain, kCount, kAnd, kOr };
int block_barrier(Barrier kind, int value, Place at);

enum class Warp : uint8_t { kSync, kShuffle, kBallot, kAll, kAny };
enum class Source : uint8_t { kLane, kXor, kDown, kUp };
uint64_t warp_together(Warp operation, unsigned mask, uint64_t value, Place at);
uint64_t warp_shuffle(Source source, unsigned mask, uint64_t value, unsigned argument, int width,
                      Place at);

// The calling thread may be overtaken here by any other.
void pause();
void fence();

enum class Atomic : uint8_t { kAdd, kExchange, kMin, kMax, kIncrement, kCompareAndSwap };
template <class T>
T atomic(Atomic operation, T* p, T value, T expected);

template <class T>
uint64_t to_bits(T v) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T>
T of_bits(uint64_t bits) {
  T v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

}  // namespace emulator

#define EMULATOR_PLACE emulator::Place at = emulator::Place::here()

inline void __syncthreads(EMULATOR_PLACE) {
  emulator::block_barrier(emulator::Barrier::kPlain, 0, at);
}
inline int __syncthreads_count(int v, EMULATOR_PLACE) {
  return emulator::block_barrier(emulator::Barrier::kCount, v, at);
}
inline int __syncthreads_and(int v, EMULATOR_PLACE) {
  return emulator::block_barrier(emulator::Barrier::kAnd, v, at);
}
inline int __syncthreads_or(int v, EMULATOR_PLACE) {
  return emulator::block_barrier(emulator::Barrier::kOr, v, at);
}

inline void __syncwarp(unsigned mask = ~0u, EMULATOR_PLACE) {
  emulator::warp_together(emulator::Warp::kSync, mask, 0, at);
}
inline unsigned __ballot_sync(unsigned mask, int v, EMULATOR_PLACE) {
  return unsigned(emulator::warp_together(emulator::Warp::kBallot, mask, v != 0, at));
}
inline int __all_sync(unsigned mask, int v, EMULATOR_PLACE) {
  return int(emulator::warp_together(emulator::Warp::kAll, mask, v != 0, at));
}
inline int __any_sync(unsigned mask, int v, EMULATOR_PLACE) {
  return int(emulator::warp_together(emulator::Warp::kAny, mask, v != 0, at));
}

#define EMULATOR_SHUFFLE(name, source)                                                   \
  template <class T>                                                                     \
  inline T name(unsigned mask, T v, unsigned argument, int width = 32, EMULATOR_PLACE) { \
    return emulator::of_bits<T>(emulator::warp_shuffle(                                  \
        emulator::Source::source, mask, emulator::to_bits(v), argument, width, at));     \
  }
EMULATOR_SHUFFLE(__shfl_sync, kLane)
EMULATOR_SHUFFLE(__shfl_xor_sync, kXor)
EMULATOR_SHUFFLE(__shfl_down_sync, kDown)
EMULATOR_SHUFFLE(__shfl_up_sync, kUp)

inline void __threadfence() { emulator::fence(); }
inline void __nanosleep(unsigned) { emulator::pause(); }
long long clock64();

// Relaxed, as on the GPU: only a fence before or after orders other accesses. The second argument
// takes the type of the first, so that atomicAdd(&counter, 1) compiles as it does under nvcc.
template <class T>
struct Same {
  using Type = T;
};
template <class T>
inline T atomicAdd(T* p, typename Same<T>::Type v) {
  return emulator::atomic<T>(emulator::Atomic::kAdd, p, v, T());
}
template <class T>
inline T atomicExch(T* p, typename Same<T>::Type v) {
  return emulator::atomic<T>(emulator::Atomic::kExchange, p, v, T());
}
template <class T>
inline T atomicMin(T* p, typename Same<T>::Type v) {
  return emulator::atomic<T>(emulator::Atomic::kMin, p, v, T());
}
template <class T>
inline T atomicMax(T* p, typename Same<T>::Type v) {
  return emulator::atomic<T>(emulator::Atomic::kMax, p, v, T());
}
template <class T>
inline T atomicCAS(T* p, typename Same<T>::Type expected, typename Same<T>::Type v) {
  return emulator::atomic<T>(emulator::Atomic::kCompareAndSwap, p, v, expected);
}
inline unsigned atomicInc(unsigned* p, unsigned limit) {
  return emulator::atomic<unsigned>(emulator::Atomic::kIncrement, p, limit, 0);
}

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v == 0 ? 32 : __builtin_clz(unsigned(v)); }
