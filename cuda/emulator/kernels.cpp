// The kernels of one .cu file, KERNELS, and their entries as the CUDA compiler sees them, ENTRIES.
// The compiler here refuses a kernel whose parameters have other sizes there. With checks, this is
// the only file that is compiled with instrumentation.

#include "../portable.cuh"
#include "machine.h"

// Files that define helpers of the same name do not meet.
namespace {
#include KERNELS
}  // namespace

namespace {

template <class... T>
struct Sizes {
  template <size_t... kBytes>
  static constexpr bool are() {
    if constexpr (sizeof...(T) != sizeof...(kBytes)) {
      return false;
    } else {
      return ((sizeof(T) == kBytes) && ...);
    }
  }
};

template <auto kKernel>
struct Kernel;

template <class... T, void (*kKernel)(T...)>
struct Kernel<kKernel> : Sizes<T...> {
  // Parameters lie in the caller's memory, which no kernel may touch: read without checks.
  __attribute__((no_sanitize("thread"))) static void call(void** parameters) {
    pass(parameters, std::index_sequence_for<T...>());
  }

 private:
  template <size_t... i>
  __attribute__((no_sanitize("thread"))) static void pass([[maybe_unused]] void** p,
                                                          std::index_sequence<i...>) {
    kKernel(*static_cast<std::remove_const_t<T>*>(p[i])...);
  }
};

#define LIST(...) \
  { __VA_ARGS__ }
#define ENTRY(name, threads, cluster, shared, registers, ...)                              \
  static_assert(Kernel<&name>::are<__VA_ARGS__>(), #name " has other parameters in CUDA"); \
  all.push_back(                                                                           \
      {#name, &Kernel<&name>::call, {__VA_ARGS__}, threads, LIST cluster, shared, registers});

const bool registered = [] {
  std::vector<emulator::Entry>& all = emulator::entries();
#include ENTRIES
  return true;
}();

}  // namespace
