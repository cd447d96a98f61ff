// Modules, functions, launches.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "driver.h"

namespace emulator {

namespace {

unsigned blocks_of_cluster(const Entry& e) { return e.cluster.x * e.cluster.y * e.cluster.z; }

// A fat binary as nvcc 13.0 writes it. Its kernels are those that were compiled into this library
// from the same sources; the machine code is not looked at.
bool is_image(const void* image) {
  uint32_t magic;
  memcpy(&magic, image, sizeof magic);
  return magic == 0xba55ed50;
}

// Takes a fat binary or PTX, as its version allows: CUDA 12.0 knows PTX 8.0, 13.0 knows 9.0.
int load(Module** module, const void* image) {
  if (!image) return kInvalidImage;
  if (is_image(image)) {
    if (driver_version() < 13000) return kInvalidImage;
    *module = driver().modules.make(current_context(), architecture());
    return kSuccess;
  }
  const char* const version = strstr(static_cast<const char*>(image), "\n.version ");
  const char* const target = strstr(static_cast<const char*>(image), "\n.target sm_");
  if (!version || !target) return kInvalidImage;
  if (atof(version + 10) > driver_version() / 1000 - 4) return kUnsupportedPtx;
  const int compiled_for = atoi(target + 12);
  if (compiled_for > architecture()) return kNoBinary;
  *module = driver().modules.make(current_context(), compiled_for);
  return kSuccess;
}

Function* function_of(Function* handle) { return driver().functions.get(handle); }

int occupancy(const Function& f, int threads, size_t dynamic) {
  if (threads <= 0 || unsigned(threads) > f.entry->max_threads) return 0;
  const size_t shared = f.entry->shared + dynamic + 1024;  // the system's own part
  const int by_threads = kThreadsOfProcessor / ((threads + 31) / 32 * 32);
  const int by_shared = int((size_t{228} << 10) / shared);
  return std::min({32, by_threads, by_shared});
}

// What is wrong with a launch, as the driver would answer; the reason is kept for the text.
int check_launch(const Function& f, Coordinates grid, Coordinates block, size_t dynamic,
                 void** parameters) {
  const Entry& e = *f.entry;
  const auto zero = [](Coordinates c) { return c.x == 0 || c.y == 0 || c.z == 0; };
  if (zero(grid) || zero(block) || grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u ||
      block.x > 1024 || block.y > 1024 || block.z > 64) {
    return kInvalidValue;
  }
  if (uint64_t{block.x} * block.y * block.z > e.max_threads) return kInvalidValue;
  if (dynamic > f.dynamic_limit || dynamic + e.shared > size_t(largest_shared_memory())) {
    return kInvalidValue;
  }
  if (grid.x % e.cluster.x != 0 || grid.y % e.cluster.y != 0 || grid.z % e.cluster.z != 0) {
    return kInvalidValue;
  }
  if (blocks_of_cluster(e) > 8 && !f.any_cluster) return kInvalidClusterSize;
  return parameters || e.parameters.empty() ? kSuccess : kInvalidValue;
}

}  // namespace

int architecture() { return setting("ARCHITECTURE", 90); }

int largest_shared_memory() {
  const int a = architecture();
  const int kib = a == 75 ? 64 : a == 80 ? 163 : a == 90 || a == 100 ? 227 : 99;
  return kib << 10;
}

}  // namespace emulator

using namespace emulator;

DRIVER_CALL(cuModuleLoadData, Module** module, const void* image) {
  ENTER(kWaiting);
  return load(module, image);
}

DRIVER_CALL(cuModuleLoadDataEx, Module** module, const void* image, unsigned, int*, void**) {
  ENTER(kWaiting);
  return load(module, image);
}

DRIVER_CALL(cuModuleUnload, Module* module) {
  ENTER(kReleaseWaiting);
  Driver& d = driver();
  if (!d.modules.get(module)) return call.end(kInvalidHandle);
  finish_all(current_context());
  d.functions.drop_if([&](const Function& f) { return f.module == module; });
  d.modules.drop(module);
  return call.end(kSuccess);
}

DRIVER_CALL(cuModuleGetFunction, Function** function, Module* module, const char* name) {
  ENTER(kContext);
  Driver& d = driver();
  if (!d.modules.get(module)) return kInvalidHandle;
  for (const auto& [handle, f] : d.functions.all()) {
    if (f->module == module && strcmp(f->entry->name, name) == 0)
      return *function = handle, kSuccess;
  }
  for (const Entry& e : entries()) {
    if (strcmp(e.name, name) != 0) continue;
    // What was compiled for older GPUs has no entry with a cluster.
    if (blocks_of_cluster(e) > 1 && module->architecture < 90) return kNotFound;
    *function = d.functions.make(current_context(), module, &e);
    return kSuccess;
  }
  return kNotFound;
}

DRIVER_CALL(cuFuncGetAttribute, int* value, int attribute, Function* function) {
  ENTER(kContext);
  const Function* const f = function_of(function);
  if (!f) return kInvalidHandle;
  const Entry& e = *f->entry;
  const bool cluster = blocks_of_cluster(e) > 1;
  const int values[] = {int(e.max_threads),
                        int(e.shared),
                        0,  // constant memory
                        0,  // local memory: a spilled register fails the build
                        int(e.registers),
                        architecture(),
                        architecture(),
                        0,  // cache mode
                        int(f->dynamic_limit),
                        -1,  // preferred share of shared memory
                        cluster,
                        cluster ? int(e.cluster.x) : 0,
                        cluster ? int(e.cluster.y) : 0,
                        cluster ? int(e.cluster.z) : 0,
                        f->any_cluster};
  if (attribute < 0 || size_t(attribute) >= sizeof values / sizeof *values) return kInvalidValue;
  *value = values[attribute];
  return kSuccess;
}

DRIVER_CALL(cuFuncSetAttribute, Function* function, int attribute, int value) {
  ENTER(kContext);
  constexpr int kDynamicLimit = 8, kCarveout = 9, kAnyCluster = 14;
  Function* const f = function_of(function);
  if (!f) return kInvalidHandle;
  switch (attribute) {
    case kDynamicLimit:
      if (value < 0 || value + int(f->entry->shared) > largest_shared_memory()) {
        return kInvalidValue;
      }
      f->dynamic_limit = size_t(value);
      return kSuccess;
    case kAnyCluster:
      f->any_cluster = value != 0;
      return kSuccess;
    case kCarveout:
      return kSuccess;
    default:
      return kInvalidValue;
  }
}

DRIVER_CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, int* blocks, Function* function,
            int threads, size_t dynamic) {
  ENTER(kContext);
  const Function* const f = function_of(function);
  if (!f) return kInvalidHandle;
  *blocks = occupancy(*f, threads, dynamic);
  return kSuccess;
}

DRIVER_CALL(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int* blocks, Function* function,
            int threads, size_t dynamic, unsigned) {
  ENTER(kContext);
  const Function* const f = function_of(function);
  if (!f) return kInvalidHandle;
  *blocks = occupancy(*f, threads, dynamic);
  return kSuccess;
}

DRIVER_CALL(cuLaunchKernel, Function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
            unsigned block_x, unsigned block_y, unsigned block_z, unsigned dynamic, Stream* stream,
            void** parameters, void** extra) {
  ENTER(kContext);
  const Function* const f = function_of(function);
  Stream* const s = stream_of(stream);
  if (!f || !s) return kInvalidHandle;
  if (extra) return kNotSupported;
  const Coordinates grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
  if (const int wrong = check_launch(*f, grid, block, dynamic, parameters)) return wrong;

  // The parameters are copied now; the caller may write them anew when this returns.
  const Entry& e = *f->entry;
  std::vector<std::vector<char>> copies;
  for (size_t i = 0; i < e.parameters.size(); ++i) {
    const char* const p = static_cast<const char*>(parameters[i]);
    copies.emplace_back(p, p + e.parameters[i]);
  }
  const int threads = int(block.x * block.y * block.z);
  // Without checks a few blocks at a time, whose threads fit into the cache.
  const int blocks = checked ? std::max(1, occupancy(*f, threads, dynamic)) : 1;
  const unsigned resident = unsigned(kProcessors * blocks);
  return submit(*s, [=, &e, c = s->context, copies = std::move(copies)] {
    if (c->broken != kSuccess) return;
    std::vector<void*> pointers;
    for (const auto& copy : copies) pointers.push_back(const_cast<char*>(copy.data()));
    if (!run({&e, grid, block, dynamic, resident, c->device, pointers.data()})) {
      break_context(c, fault_text());
    }
  });
}
