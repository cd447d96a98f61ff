// Device and pinned memory, copies, fills.

#include <stdlib.h>
#include <string.h>

#include "driver.h"

namespace emulator {

namespace {

constexpr int kPoison = 0xff;

bool within(const std::map<char*, size_t>& ranges, const void* p, size_t bytes) {
  const char* const address = static_cast<const char*>(p);
  auto after = ranges.upper_bound(const_cast<char*>(address));
  if (after == ranges.begin()) return false;
  const auto [base, size] = *std::prev(after);
  return address + bytes <= base + size;
}

bool pinned(const void* p, size_t bytes) {
  return within(driver().pinned, p, bytes) || within(driver().registered, p, bytes);
}

char* pointer(uint64_t address) { return reinterpret_cast<char*>(address); }

bool on_device(uint64_t address, size_t bytes) {
  return bytes == 0 || find_live(pointer(address), bytes);
}

// Work on device memory; it may have been freed since it was queued.
Work with_memory(uint64_t address, size_t bytes, std::function<void(char*, Region*)> work) {
  Context* const c = current_context();
  return [=] {
    if (c->broken != kSuccess || bytes == 0) return;
    Region* const r = find_live(pointer(address), bytes);
    if (r) {
      work(pointer(address), r);
    } else {
      break_context(c, "copy or fill of " + std::to_string(bytes) + " bytes that were freed");
    }
  };
}

int allocate_device(uint64_t* address, size_t bytes) {
  const int device = current_context()->device;
  if (bytes == 0) return kInvalidValue;
  if (bytes > memory_of_device() - bytes_in_use(device)) return kOutOfMemory;
  void* const p = allocate(bytes, device);
  if (!p) return kOutOfMemory;
  *address = reinterpret_cast<uint64_t>(p);
  return kSuccess;
}

int allocate_host(void** p, size_t bytes) {
  if (bytes == 0) return kInvalidValue;
  void* memory;
  if (posix_memalign(&memory, 4096, bytes) != 0) return kOutOfMemory;
  memset(memory, kPoison, bytes);
  driver().pinned[static_cast<char*>(memory)] = bytes;
  *p = memory;
  return kSuccess;
}

int to_device(uint64_t to, const void* from, size_t bytes, Stream* s) {
  if (!s) return kInvalidHandle;
  if (!on_device(to, bytes)) return kInvalidValue;
  const auto copy = [bytes](char* p, Region* r, const void* data) {
    memcpy(p, data, bytes);
    r->mark(p, bytes, kWritten);
  };
  if (pinned(from, bytes)) {
    return submit(*s, with_memory(to, bytes, [=](char* p, Region* r) { copy(p, r, from); }));
  }
  // Other memory is read before the call returns.
  const char* const data = static_cast<const char*>(from);
  const auto staged = std::make_shared<std::vector<char>>(data, data + bytes);
  return submit(*s,
                with_memory(to, bytes, [=](char* p, Region* r) { copy(p, r, staged->data()); }));
}

int to_host(void* to, uint64_t from, size_t bytes, Stream* s) {
  if (!s) return kInvalidHandle;
  if (!on_device(from, bytes)) return kInvalidValue;
  const int result =
      submit(*s, with_memory(from, bytes, [=](char* p, Region*) { memcpy(to, p, bytes); }));
  // Other memory is written before the call returns.
  if (result == kSuccess && !s->capture && !pinned(to, bytes)) finish(*s);
  return result != kSuccess ? result : s->context->broken;
}

int within_device(uint64_t to, uint64_t from, size_t bytes, Stream* s) {
  if (!s) return kInvalidHandle;
  if (!on_device(to, bytes) || !on_device(from, bytes)) return kInvalidValue;
  return submit(*s, with_memory(to, bytes, [=](char* p, Region*) {
    with_memory(from, bytes, [=](char* q, Region*) {
      memmove(p, q, bytes);
      copy_state(p, q, bytes);
    })();
  }));
}

template <class T>
int fill(uint64_t to, T value, size_t n, Stream* s) {
  if (!s) return kInvalidHandle;
  const size_t bytes = n * sizeof(T);
  if (!on_device(to, bytes) || to % sizeof(T) != 0) return kInvalidValue;
  return submit(*s, with_memory(to, bytes, [=](char* p, Region* r) {
    std::fill_n(reinterpret_cast<T*>(p), n, value);
    r->mark(p, bytes, kWritten);
  }));
}

// Copies and fills that are done when the call returns.
int at_once(Stream* s, int result) {
  if (result != kSuccess) return result;
  finish(*s);
  return s->context->broken;
}

}  // namespace

size_t memory_of_device() { return size_t(setting("MEMORY", 4096)) << 20; }

}  // namespace emulator

using namespace emulator;

DRIVER_CALL(cuMemGetInfo_v2, size_t* free, size_t* total) {
  ENTER(kContext);
  *total = memory_of_device();
  *free = *total - bytes_in_use(current_context()->device);
  return kSuccess;
}

DRIVER_CALL(cuMemAlloc_v2, uint64_t* address, size_t bytes) {
  ENTER(kWaiting);
  return allocate_device(address, bytes);
}

DRIVER_CALL(cuMemFree_v2, uint64_t address) {
  ENTER(kReleaseWaiting);
  if (address == 0) return call.end(kSuccess);
  finish_all(current_context());
  return call.end(release(pointer(address)) ? kSuccess : kInvalidValue);
}

// The memory is there at once, where a stream of the driver would have it from this point on.
DRIVER_CALL(cuMemAllocAsync, uint64_t* address, size_t bytes, Stream* stream) {
  ENTER(kContext);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (s->capture) return kNotSupported;
  return allocate_device(address, bytes);
}

DRIVER_CALL(cuMemFreeAsync, uint64_t address, Stream* stream) {
  ENTER(kRelease);
  Stream* const s = stream_of(stream);
  if (!s) return call.end(kInvalidHandle);
  if (s->capture) return kNotSupported;
  const Region* const r = find_live(pointer(address), 1);
  if (!r || r->base != pointer(address)) return call.end(kInvalidValue);
  return call.end(submit(*s, [=] { release(pointer(address)); }));
}

DRIVER_CALL(cuMemGetAddressRange_v2, uint64_t* base, size_t* bytes, uint64_t address) {
  ENTER(kContext);
  const Region* const r = find_live(pointer(address), 1);
  if (!r) return kNotFound;
  if (base) *base = reinterpret_cast<uint64_t>(r->base);
  if (bytes) *bytes = r->bytes;
  return kSuccess;
}

DRIVER_CALL(cuPointerGetAttribute, void* value, int attribute, uint64_t address) {
  ENTER(kContext);
  constexpr int kContextOf = 1, kMemoryType = 2, kDeviceOrdinal = 9, kOnDevice = 2;
  const Region* const r = find_live(pointer(address), 1);
  if (!r) return kInvalidValue;
  switch (attribute) {
    case kContextOf:
      *static_cast<Context**>(value) = &driver().contexts[size_t(r->device)];
      return kSuccess;
    case kMemoryType:
      *static_cast<unsigned*>(value) = kOnDevice;
      return kSuccess;
    case kDeviceOrdinal:
      *static_cast<int*>(value) = r->device;
      return kSuccess;
    default:
      return kNotSupported;
  }
}

DRIVER_CALL(cuMemHostAlloc, void** p, size_t bytes, unsigned) {
  ENTER(kWaiting);
  return allocate_host(p, bytes);
}

DRIVER_CALL(cuMemAllocHost_v2, void** p, size_t bytes) {
  ENTER(kWaiting);
  return allocate_host(p, bytes);
}

DRIVER_CALL(cuMemFreeHost, void* p) {
  ENTER(kReleaseWaiting);
  finish_all(current_context());
  if (driver().pinned.erase(static_cast<char*>(p)) == 0) return call.end(kInvalidValue);
  free(p);
  return call.end(kSuccess);
}

DRIVER_CALL(cuMemHostRegister_v2, void* p, size_t bytes, unsigned) {
  ENTER(kWaiting);
  if (!p || bytes == 0) return kInvalidValue;
  if (pinned(p, 1)) return kAlreadyRegistered;
  driver().registered[static_cast<char*>(p)] = bytes;
  return kSuccess;
}

DRIVER_CALL(cuMemHostUnregister, void* p) {
  ENTER(kReleaseWaiting);
  finish_all(current_context());
  const bool known = driver().registered.erase(static_cast<char*>(p)) > 0;
  return call.end(known ? kSuccess : kNotRegistered);
}

DRIVER_CALL(cuMemcpyHtoD_v2, uint64_t to, const void* from, size_t bytes) {
  ENTER(kWaiting);
  return at_once(stream_of(nullptr), to_device(to, from, bytes, stream_of(nullptr)));
}

DRIVER_CALL(cuMemcpyDtoH_v2, void* to, uint64_t from, size_t bytes) {
  ENTER(kWaiting);
  return at_once(stream_of(nullptr), to_host(to, from, bytes, stream_of(nullptr)));
}

DRIVER_CALL(cuMemcpyDtoD_v2, uint64_t to, uint64_t from, size_t bytes) {
  ENTER(kWaiting);
  return within_device(to, from, bytes, stream_of(nullptr));
}

DRIVER_CALL(cuMemcpyHtoDAsync_v2, uint64_t to, const void* from, size_t bytes, Stream* stream) {
  ENTER(kContext);
  return to_device(to, from, bytes, stream_of(stream));
}

DRIVER_CALL(cuMemcpyDtoHAsync_v2, void* to, uint64_t from, size_t bytes, Stream* stream) {
  ENTER(kContext);
  return to_host(to, from, bytes, stream_of(stream));
}

DRIVER_CALL(cuMemcpyDtoDAsync_v2, uint64_t to, uint64_t from, size_t bytes, Stream* stream) {
  ENTER(kContext);
  return within_device(to, from, bytes, stream_of(stream));
}

#define FILL(bits, Type)                                                              \
  DRIVER_CALL(cuMemsetD##bits##_v2, uint64_t to, Type value, size_t n) {              \
    ENTER(kWaiting);                                                                  \
    return fill(to, value, n, stream_of(nullptr));                                    \
  }                                                                                   \
  DRIVER_CALL(cuMemsetD##bits##Async, uint64_t to, Type value, size_t n, Stream* s) { \
    ENTER(kContext);                                                                  \
    return fill(to, value, n, stream_of(s));                                          \
  }
FILL(8, uint8_t)
FILL(16, uint16_t)
FILL(32, uint32_t)
