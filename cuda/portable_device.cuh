// portable.cuh for nvcc.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#define BN_DEVICE __device__ __forceinline__
// Arguments that stay where the launch put them: a reference to them copies nothing.
#define BN_ARGUMENTS(type) const __grid_constant__ type
#define BN_UNROLL _Pragma("unroll")
#define BN_PRAGMA(text) _Pragma(#text)
#define BN_UNROLL_BY(n) BN_PRAGMA(unroll n)
#define BN_ENTRY(threads) extern "C" __global__ void __launch_bounds__(threads)
// Of which a multiprocessor has room for so many blocks at a time. Without that the compiler goes
// for one more, and spills.
#define BN_RESIDENT_ENTRY(threads, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, blocks)

// Entries with clusters stand under #if BN_CLUSTERS: older GPUs have none.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define BN_CLUSTERS 1
#else
#define BN_CLUSTERS 0
#endif
#define BN_CLUSTER_ENTRY(threads, resident, blocks) \
  extern "C" __global__ void __launch_bounds__(threads, resident) __cluster_dims__(blocks, 1, 1)

// A block's shared array of n values, and the array whose size the launch gives.
#define BN_SHARED(type, name, n) __shared__ type name[n]
#define BN_DYN_SHARED(type, name)                              \
  extern __shared__ __align__(128) unsigned char bn_dynamic[]; \
  type* const name = reinterpret_cast<type*>(bn_dynamic)

BN_DEVICE int64_t thread_in_grid() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
BN_DEVICE int64_t threads_in_grid() { return int64_t(gridDim.x) * blockDim.x; }

// A word that carries order from one block to another: what was done before a store_release is seen
// after a load_acquire that reads it.
BN_DEVICE unsigned load_acquire(const unsigned* p) {
  unsigned v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
BN_DEVICE void store_release(unsigned* p, unsigned v) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Ends the launch with an error.
BN_DEVICE void give_up() { asm volatile("trap;"); }

#if BN_CLUSTERS
BN_DEVICE unsigned cluster_size() { return __clusterSizeInBlocks(); }
BN_DEVICE unsigned cluster_rank() { return __clusterRelativeBlockRank(); }
// A barrier of all threads of the cluster in two halves. Nobody may touch another block's shared
// memory before the first barrier, nor leave before the last such access.
BN_DEVICE void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
// The same without order: for "I have started", which waits for no memory.
BN_DEVICE void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
BN_DEVICE void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
BN_DEVICE void cluster_barrier() {
  cluster_arrive();
  cluster_wait();
}
// Where another block of the cluster has what this block has at `mine`, in its shared memory.
template <class T>
BN_DEVICE T* cluster_peer(T* mine, unsigned rank) {
  return static_cast<T*>(__cluster_map_shared_rank(mine, rank));
}

// A barrier in shared memory: a phase is over when all have arrived and all bytes that they expect
// have come. Phases have parity 0, 1, 0, ... No more than one phase may end before all wait for it.
BN_DEVICE unsigned shared_address(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }
BN_DEVICE void mbarrier_init(uint64_t* p, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(p)), "r"(arrivals)
               : "memory");
}
// Of those that this thread initialised: copies may count on them, and peers may after a barrier of
// the cluster, be it a relaxed one.
BN_DEVICE void mbarrier_publish() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
BN_DEVICE void mbarrier_arrive(uint64_t* p) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(p)) : "memory");
}
// Arrives, and expects so many bytes more in this phase.
BN_DEVICE void mbarrier_expect(uint64_t* p, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(p)),
               "r"(bytes)
               : "memory");
}
// Waits until the phase of this parity is over; then what came by copies is there.
BN_DEVICE void mbarrier_wait(uint64_t* p, unsigned parity) {
  asm volatile(
      "{\n .reg .pred over;\n"
      "again_%=: mbarrier.try_wait.parity.shared::cta.b64 over, [%0], %1;\n"
      " @!over bra again_%=;\n}" ::"r"(shared_address(p)),
      "r"(parity)
      : "memory");
}
// The same, and what peers stored is there too.
BN_DEVICE void mbarrier_wait_for_cluster(uint64_t* p, unsigned parity) {
  asm volatile(
      "{\n .reg .pred over;\n"
      "again_%=: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 over, [%0], %1;\n"
      " @!over bra again_%=;\n}" ::"r"(shared_address(p)),
      "r"(parity)
      : "memory");
}
// Copies from global to this block's shared memory, beside the threads: addresses and bytes are
// multiples of 16. The mbarrier counts the bytes. Data that is touched once: it leaves L2 first.
// (Said to go to shared::cluster, the same copy is a call into the driver's code on sm_120.)
BN_DEVICE void copy_to_shared(Packed* to, const Packed* from, unsigned bytes, uint64_t* p) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(p)), "l"(policy)
      : "memory");
}
// Stores to what another block has at `mine`, beside this thread; what that block has at p counts 8
// bytes. Orders nothing else: a release to the cluster would wait for all stores before it.
BN_DEVICE void store_to_peer(double* mine, double v, uint64_t* p, unsigned rank) {
  asm volatile(
      "{\n .reg .b32 slot, counter;\n"
      " mapa.shared::cluster.u32 slot, %0, %3;\n"
      " mapa.shared::cluster.u32 counter, %1, %3;\n"
      " st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [slot], %2, [counter];\n}" ::"r"(
          shared_address(mine)),
      "r"(shared_address(p)), "l"(__double_as_longlong(v)), "r"(rank)
      : "memory");
}
#endif

BN_DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
BN_DEVICE uint32_t bits_of_float(float v) { return __float_as_uint(v); }
BN_DEVICE double double_of_bits(uint64_t bits) { return __longlong_as_double(int64_t(bits)); }
BN_DEVICE uint64_t bits_of_double(double v) { return uint64_t(__double_as_longlong(v)); }

// One rounding each, in every context: the compiler may not fuse or split these.
BN_DEVICE float fma_rn(float a, float b, float c) { return __fmaf_rn(a, b, c); }
BN_DEVICE float add_rn(float a, float b) { return __fadd_rn(a, b); }
BN_DEVICE float sub_rn(float a, float b) { return __fsub_rn(a, b); }
BN_DEVICE double fma_rn(double a, double b, double c) { return __fma_rn(a, b, c); }
BN_DEVICE double add_rn(double a, double b) { return __dadd_rn(a, b); }
BN_DEVICE double sub_rn(double a, double b) { return __dsub_rn(a, b); }

// Data that is touched once: it passes by L1 and leaves L2 first. Not the read-only path, since an
// output may be the input.
BN_DEVICE Packed load_once(const Packed* p) {
  Packed v;
#if __CUDA_ARCH__ >= 800
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;"
               : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
               : "l"(p), "l"(policy));
#else
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
               : "l"(p));
#endif
  return v;
}
// Data that the same launch reads again: L2 keeps it as long as it can.
BN_DEVICE Packed load_kept(const Packed* p) {
  Packed v;
#if __CUDA_ARCH__ >= 800
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;"
               : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
               : "l"(p), "l"(policy));
#else
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
               : "l"(p));
#endif
  return v;
}
BN_DEVICE PackedHalf load_once(const PackedHalf* p) {
  PackedHalf v;
#if __CUDA_ARCH__ >= 800
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v2.u32 {%0,%1}, [%2], %3;"
               : "=r"(v.word[0]), "=r"(v.word[1])
               : "l"(p), "l"(policy));
#else
  asm volatile("ld.global.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
               : "=r"(v.word[0]), "=r"(v.word[1])
               : "l"(p));
#endif
  return v;
}
BN_DEVICE PackedHalf load_kept(const PackedHalf* p) {
  PackedHalf v;
#if __CUDA_ARCH__ >= 800
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v2.u32 {%0,%1}, [%2], %3;"
               : "=r"(v.word[0]), "=r"(v.word[1])
               : "l"(p), "l"(policy));
#else
  asm volatile("ld.global.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
               : "=r"(v.word[0]), "=r"(v.word[1])
               : "l"(p));
#endif
  return v;
}
BN_DEVICE float load_once(const float* p) { return __ldcs(p); }
BN_DEVICE uint16_t load_once(const uint16_t* p) { return __ldcs(p); }
BN_DEVICE double load_once(const double* p) { return __ldcs(p); }

// What was stored before has to be loaded again: it keeps no register.
BN_DEVICE void from_memory() { asm volatile("" ::: "memory"); }

// Forgets what was computed of it: the compiler would keep that in more registers than this.
BN_DEVICE void keep_packed(Packed& v) {
  asm volatile("" : "+r"(v.word[0]), "+r"(v.word[1]), "+r"(v.word[2]), "+r"(v.word[3]));
}

// Data that is needed later: it comes to L2 meanwhile, and takes no register.
BN_DEVICE void prefetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

BN_DEVICE void store(Packed* p, const Packed& v) {
  asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(p), "r"(v.word[0]), "r"(v.word[1]),
               "r"(v.word[2]), "r"(v.word[3])
               : "memory");
}
BN_DEVICE void store(PackedHalf* p, const PackedHalf& v) {
  asm volatile("st.global.v2.u32 [%0], {%1,%2};" ::"l"(p), "r"(v.word[0]), "r"(v.word[1])
               : "memory");
}
template <class T>
BN_DEVICE void store(T* p, T v) {
  *p = v;
}

// What another block of the launch may have written, after an acquire: not from L1.
BN_DEVICE float load_fresh(const float* p) { return __ldcg(p); }
BN_DEVICE double load_fresh(const double* p) { return __ldcg(p); }

// Per-channel numbers: read by many threads, never written by the kernel that reads them.
BN_DEVICE float load_shared_by_many(const float* p) { return __ldg(p); }
BN_DEVICE double load_shared_by_many(const double* p) { return __ldg(p); }
BN_DEVICE void load_shared_by_many(const float* p, float (&v)[4]) {
  const float4 q = __ldg(reinterpret_cast<const float4*>(p));
  v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
}

struct F16Format {
  static BN_DEVICE float widen(uint16_t v) { return __half2float(__ushort_as_half(v)); }
  static BN_DEVICE uint32_t narrow(float low, float high) {
    const __half2 h = __floats2half2_rn(low, high);
    return __half_as_ushort(__low2half(h)) | uint32_t(__half_as_ushort(__high2half(h))) << 16;
  }
};

struct BF16Format {
  static BN_DEVICE float widen(uint16_t v) { return float_of_bits(uint32_t(v) << 16); }
  static BN_DEVICE uint32_t narrow(float low, float high) {
    const __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return __bfloat16_as_ushort(__low2bfloat16(h)) |
           uint32_t(__bfloat16_as_ushort(__high2bfloat16(h))) << 16;
  }
};
