// Runs every kernel of faults.cu under several schedules through the fake driver: a planted fault
// must be caught under each of them, with the right words, and a sound kernel under none.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <string>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void**, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxPushCurrent_v2(void*);
int cuCtxPopCurrent_v2(void**);
int cuCtxSynchronize();
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuMemAlloc_v2(uint64_t*, size_t);
int cuMemFree_v2(uint64_t);
int cuMemsetD8_v2(uint64_t, unsigned char, size_t);
int cuMemcpyDtoH_v2(void*, uint64_t, size_t);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                   void*, void**, void**);
int cuGetErrorString(int, const char**);
void Java_org_fusednorm_cuda_Emulator_schedule(void*, void*, int64_t, int64_t);
}

namespace {

struct Args {
  float* p;
  unsigned* words;
  int64_t n;
};

// A part of what each planted fault must be called.
const std::map<std::string, std::string> expected = {
    {"bad_missing_barrier", "uninitialised: read of 4 bytes"},
    {"bad_second_barrier_missing", "race on shared memory"},
    {"bad_divergent_barrier", "divergent __syncthreads"},
    {"bad_ended_before_barrier", "threads have ended"},
    {"bad_lane_outside_mask", "reads lane 20, which the mask 0000ffff does not name"},
    {"bad_mask_without_caller", "does not name the calling lane"},
    {"bad_mask_names_ended_lane", "which has ended"},
    {"bad_divergent_shuffle", "divergent warp operation"},
    {"bad_shuffle_as_warp_barrier", "race on shared memory"},
    {"bad_barrier_against_warp", "deadlock, nobody can go on"},
    {"bad_behind_the_end", "out of bounds: write of 4 bytes at offset"},
    {"bad_before_the_start", "out of bounds: write of 4 bytes at"},
    {"bad_behind_array", "undefined behaviour: an index behind the end of an array"},
    {"bad_null", "belongs to no allocation"},
    {"bad_misaligned", "misaligned"},
    {"bad_misaligned_pair", "misaligned write of 8 bytes"},
    {"bad_uninitialised", "uninitialised: read of 4 bytes"},
    {"bad_freed", "use after free"},
    {"bad_behind_shared", "out of bounds: write of 4 bytes in shared memory"},
    {"bad_behind_dynamic", "out of bounds: write of 4 bytes in shared memory"},
    {"bad_uninitialised_shared", "uninitialised: read of 4 bytes"},
    {"bad_overflow", "undefined behaviour: a multiplication overflows at"},
    {"bad_blocks_overlap", "race on device memory"},
    {"bad_reads_other_block", "race on device memory"},
    {"bad_race_in_block", "race on device memory"},
    {"bad_plain_sum", "race on device memory"},
    {"bad_fence_before_missing", "race on device memory"},
    {"bad_fence_after_missing", "race on device memory"},
    {"bad_volatile_orders_nothing", "race on device memory"},
    {"bad_waits_for_nobody", "deadlock, every thread waits"},
    {"bad_volatile_waits_for_nobody", "deadlock, every thread waits"},
    {"bad_no_first_cluster_barrier", "before the first cluster barrier"},
    {"bad_relaxed_orders_nothing", "race on shared memory"},
    {"bad_peer_ends_early", "which has ended"},
    {"bad_read_within_barrier", "race on shared memory"},
    {"bad_read_after_arrival", "race on shared memory"},
    {"bad_peer_leaves_cluster_barrier", "divergent cluster barrier"},
    {"bad_copy_not_awaited", "not ordered after a copy's write"},
    {"bad_copy_of_wrong_parity", "not ordered after a copy's write"},
    {"bad_copy_over_readers", "not ordered after a read"},
    {"bad_copy_of_more_bytes", "272 bytes are under way, 256 are expected"},
    {"bad_copy_of_fewer_bytes", "at an mbarrier"},
    {"bad_copy_of_half_vectors", "misaligned, 264 bytes"},
    {"bad_copy_behind_array", "out of bounds: write of 1024 bytes in shared memory"},
    {"bad_mbarrier_not_published", "was not published"},
    {"bad_copy_misaligned", "misaligned, 16 bytes"},
    {"bad_copy_uninitialised", "uninitialised: read of 16 bytes"},
    {"bad_ends_before_its_copy", "copies to its shared memory may be"},
    {"bad_mbarrier_without_init", "it was not initialised"},
    {"bad_mbarrier_before_its_init", "not ordered after its initialisation"},
    {"bad_arrival_too_many", "more than 1 arrivals in a phase"},
    {"bad_fewer_arrivals", "race on shared memory"},
    {"bad_arrival_missing", "that misses 1 arrivals and 0 bytes"},
    {"bad_talk_before_the_start", "was not published"},
    {"bad_talk_without_expecting", "that misses 1 arrivals"},
    {"bad_talk_not_of_cluster", "not ordered after a copy's write"},
    {"bad_talk_to_who_left", "has ended"},
    {"bad_talk_in_one_slot", "race on shared memory"},
};

// Faults that show in more than one way, depending on who comes first.
const std::multimap<std::string, std::string> also = {
    {"bad_missing_barrier", "race on shared memory"},
    {"bad_shuffle_as_warp_barrier", "uninitialised: read of 4 bytes"},
    {"bad_behind_shared", "race on shared memory"},
    {"bad_relaxed_orders_nothing", "of the cluster ends, not ordered after"},
    {"bad_peer_ends_early", "of the cluster ends, not ordered after"},
    {"bad_mbarrier_before_its_init", "it was not initialised"},
    {"bad_copy_not_awaited", "uninitialised: read of 4 bytes"},
    {"bad_copy_of_wrong_parity", "uninitialised: read of 4 bytes"},
    {"bad_copy_of_wrong_parity", "deadlock, nobody can go on"},
    {"bad_copy_over_readers", "not ordered after a copy's write"},
    {"bad_copy_over_readers", "deadlock, nobody can go on"},
    {"bad_fewer_arrivals", "uninitialised: read of 4 bytes"},
    {"bad_talk_before_the_start", "it was not initialised"},
    {"bad_talk_to_who_left", "of the cluster ends, "},
};

const std::vector<std::string> kernels = {
#define ENTRY(name, ...) #name,
#include "faults.entries"
};

int failures = 0;

void must(int result, const char* call) {
  if (result == 0) return;
  fprintf(stderr, "emulator: %s returned %d\n", call, result);
  exit(1);
}

void enter(int device) {
  void* context;
  must(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  must(cuCtxPushCurrent_v2(context), "cuCtxPushCurrent");
}

void leave(int device) {
  must(cuCtxPopCurrent_v2(nullptr), "cuCtxPopCurrent");
  must(cuDevicePrimaryCtxRelease_v2(device), "cuDevicePrimaryCtxRelease");
}

// What the driver says of a launch on a device, or nothing. The memory is device 0's.
std::string launch(const std::string& kernel, unsigned blocks, int device = 0) {
  const uint32_t image[16] = {0xba55ed50};
  enter(0);
  uint64_t p, words;
  must(cuMemAlloc_v2(&p, (8192 + 1024) * 4), "cuMemAlloc");
  must(cuMemAlloc_v2(&words, 1024 * 4), "cuMemAlloc");
  must(cuMemsetD8_v2(p, 0, 8192 * 4), "cuMemsetD8");
  must(cuMemsetD8_v2(words, 0, 1024 * 4), "cuMemsetD8");
  Args args{reinterpret_cast<float*>(p), reinterpret_cast<unsigned*>(words), 40};
  void *parameters[] = {&args}, *module, *function;
  enter(device);
  must(cuModuleLoadData(&module, image), "cuModuleLoadData");
  must(cuModuleGetFunction(&function, module, kernel.c_str()), "cuModuleGetFunction");
  if (kernel == "bad_freed") must(cuMemFree_v2(p), "cuMemFree");
  must(cuLaunchKernel(function, blocks, 1, 1, 64, 1, 1, 256, nullptr, parameters, nullptr),
       "cuLaunchKernel");
  const int result = cuCtxSynchronize();
  const char* text = "";
  if (result != 0) cuGetErrorString(result, &text);
  const std::string answer = text;
  leave(device);
  leave(0);
  return answer;
}

bool is_expected(const std::string& kernel, const std::string& answer) {
  const auto at = expected.find(kernel);
  if (at == expected.end()) return answer.empty();
  if (answer.find(kernel + ": ") != 0) return false;
  if (answer.find(at->second) != std::string::npos) return true;
  const auto [first, last] = also.equal_range(kernel);
  for (auto other = first; other != last; ++other) {
    if (answer.find(other->second) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char**) {
  const bool verbose = argc > 1;
  setenv("FUSEDNORM_EMULATOR_DEVICES", "2", 1);
  must(cuInit(0), "cuInit");
  int runs = 0;
  for (const std::string& kernel : kernels) {
    if ((kernel.find("bad_") == 0) != (expected.count(kernel) > 0)) {
      ++failures;
      fprintf(stderr, "FAILED %s is in one of faults.cu and self_test.cpp only\n", kernel.c_str());
    }
    for (int64_t seed = 0; seed < 6; ++seed) {
      for (int64_t preempt : {0, 1, 7}) {
        Java_org_fusednorm_cuda_Emulator_schedule(nullptr, nullptr, seed, preempt);
        const std::string answer = launch(kernel, 4);
        ++runs;
        if (verbose && seed == 3 && preempt == 0)
          printf("%s -> %s\n", kernel.c_str(), answer.c_str());
        if (is_expected(kernel, answer)) continue;
        ++failures;
        fprintf(stderr, "FAILED %s with seed %d, preemption %d: %s\n", kernel.c_str(), int(seed),
                int(preempt), answer.empty() ? "nothing was found" : answer.c_str());
      }
    }
  }
  // More blocks than the machine holds at a time: waiting for earlier tickets is right all the
  // same, waiting for all blocks is not.
  for (int64_t seed = 0; seed < 6; ++seed) {
    Java_org_fusednorm_cuda_Emulator_schedule(nullptr, nullptr, seed, 0);
    const std::string chain = launch("good_chain", 300), grid = launch("good_grid_barrier", 300);
    runs += 2;
    if (chain.empty() && grid.find("deadlock, every thread waits") != std::string::npos) continue;
    ++failures;
    fprintf(stderr, "FAILED 300 blocks with seed %d: %s %s\n", int(seed), chain.c_str(),
            grid.c_str());
  }
  const std::string foreign = launch("good_reverse", 4, 1);
  if (foreign.find("write of memory of device 0 on device 1") == std::string::npos) {
    ++failures;
    fprintf(stderr, "FAILED memory of another device: %s\n", foreign.c_str());
  }
  if (failures > 0) return 1;
  printf("cuda: emulator, %zu kernels in %d runs: every planted fault caught, nothing else\n",
         kernels.size(), runs);
  return 0;
}
