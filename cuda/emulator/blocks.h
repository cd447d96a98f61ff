// What ../portable_device.cuh has for a GPU beyond CUDA's own names: a block's shared memory, its
// cluster, copies beside the threads, words that carry order between blocks. For kernels; defined
// by the emulator alone.
#pragma once

#include "language.h"

struct Packed;

// The array of the running block that `tag` names, and the one whose size the launch gives.
void* shared_array(const void* tag, size_t bytes, size_t alignment);
void* dynamic_shared_array();

unsigned cluster_size();
unsigned cluster_rank();

// A barrier of all threads of the cluster in two halves.
void cluster_arrive(EMULATOR_PLACE);
void cluster_arrive_relaxed(EMULATOR_PLACE);
void cluster_wait(EMULATOR_PLACE);
inline void cluster_barrier(EMULATOR_PLACE) {
  cluster_arrive(at);
  cluster_wait(at);
}

// Where another block of the cluster has what this block has at `mine`, in its shared memory.
void* cluster_peer_address(const void* mine, unsigned rank, emulator::Place at);
template <class T>
T* cluster_peer(T* mine, unsigned rank, EMULATOR_PLACE) {
  return static_cast<T*>(cluster_peer_address(mine, rank, at));
}

// Barriers in shared memory that count arrivals and bytes, and what counts on them.
void mbarrier_init(uint64_t* p, unsigned arrivals, EMULATOR_PLACE);
void mbarrier_publish();
void mbarrier_arrive(uint64_t* p, EMULATOR_PLACE);
void mbarrier_expect(uint64_t* p, unsigned bytes, EMULATOR_PLACE);
void mbarrier_wait(uint64_t* p, unsigned parity, bool cluster, emulator::Place at);
inline void mbarrier_wait(uint64_t* p, unsigned parity, EMULATOR_PLACE) {
  mbarrier_wait(p, parity, false, at);
}
inline void mbarrier_wait_for_cluster(uint64_t* p, unsigned parity, EMULATOR_PLACE) {
  mbarrier_wait(p, parity, true, at);
}
void copy_to_shared(Packed* to, const Packed* from, unsigned bytes, uint64_t* p, EMULATOR_PLACE);
void store_to_peer(double* mine, double v, uint64_t* p, unsigned rank, EMULATOR_PLACE);

unsigned load_acquire(const unsigned* p);
void store_release(unsigned* p, unsigned v);
