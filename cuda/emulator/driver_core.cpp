// Initialization, devices, contexts, errors.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

namespace emulator {

namespace {

thread_local std::vector<Context*> current;
thread_local bool in_host_function;

struct Text {
  int result;
  const char *name, *text;
};
const Text texts[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kNoBinary, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for the device"},
    {kUnsupportedPtx, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {kAlreadyRegistered, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
     "part or all of the requested memory range is already mapped"},
    {kNotRegistered, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
     "pointer does not correspond to a registered memory region"},
    {kNotPermitted, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {kCaptureMerge, "CUDA_ERROR_STREAM_CAPTURE_MERGE",
     "operation would result in a merge of separate capture sequences"},
    {kCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not ended in the same stream as it began"},
    {kCaptureUnjoined, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {kCaptureImplicit, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {kCapturedEvent, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {kCaptureWrongThread, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
    {kInvalidClusterSize, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "misconfiguration of clusters"},
};

const Text* text_of(int result) {
  for (const Text& t : texts) {
    if (t.result == result) return &t;
  }
  return nullptr;
}

Context* primary(int device) {
  std::vector<Context>& all = driver().contexts;
  return device >= 0 && size_t(device) < all.size() ? &all[size_t(device)] : nullptr;
}

// Whether a capture is going on that forbids the calling thread to wait; it is lost then.
bool spoils_capture() {
  bool spoils = false;
  for (const auto& c : driver().captures) {
    constexpr int kGlobal = 0, kThreadLocal = 1;
    if (c->mode == kGlobal ||
        (c->mode == kThreadLocal && c->thread == std::this_thread::get_id())) {
      c->invalid = spoils = true;
    }
  }
  return spoils;
}

// What is left goes with the last user of a context.
void destroy(Context& c) {
  Driver& d = driver();
  finish_all(&c);
  const auto of_c = [&](const auto& object) { return object.context == &c; };
  d.events.drop_if(of_c);
  d.functions.drop_if(of_c);
  d.modules.drop_if(of_c);
  d.streams.drop_if(of_c);
  d.null_streams.erase(&c);
  release_all(c.device);
  c.broken = kSuccess;
}

}  // namespace

int setting(const char* name, int otherwise) {
  const char* const text = getenv((std::string("FUSEDNORM_EMULATOR_") + name).c_str());
  return text ? atoi(text) : otherwise;
}

int driver_version() { return setting("DRIVER", 13000); }

static Driver* make_driver() {
  schedule = {uint64_t(setting("SEED", 0)), uint64_t(setting("PREEMPT", 0))};
  Driver* const d = new Driver;
  d->failing_call = uint64_t(setting("FAILING_CALL", 0));
  d->failure = setting("FAILURE", 999);
  return d;
}

Driver& driver() {
  static Driver& d = *make_driver();  // outlives every thread that may still call
  return d;
}

Context* current_context() { return current.empty() ? nullptr : current.back(); }

Call::Call(const char* name, Kind kind) {
  if (in_host_function) {
    refused_ = kNotPermitted;
    return;
  }
  Driver& d = driver();
  lock_ = std::unique_lock<std::mutex>(d.mutex);
  static const bool trace = getenv("FUSEDNORM_EMULATOR_TRACE") != nullptr;
  ++d.calls;
  if (trace) fprintf(stderr, "emulator: call %llu %s\n", (unsigned long long)d.calls, name);
  const bool releases = kind >= kRelease;
  const bool waits = kind == kWaiting || kind == kReleaseWaiting;
  if (d.calls == d.failing_call) (releases ? afterwards_ : refused_) = d.failure;
  if (refused_ != kSuccess) return;
  if (kind >= kDriver && !d.initialized) {
    refused_ = kNotInitialized;
  } else if (kind >= kContext && kind != kReleaseContext) {
    const Context* const c = current_context();
    if (!c || c->retained == 0) {
      refused_ = kInvalidContext;
    } else if (!releases && c->broken != kSuccess) {
      refused_ = c->broken;
    } else if (waits && spoils_capture()) {
      refused_ = kCaptureUnsupported;
    } else if (releases && afterwards_ == kSuccess) {
      afterwards_ = c->broken;
    }
  }
}

void break_context(Context* c, const std::string& why) {
  if (c->broken != kSuccess) return;
  c->broken = kIllegalAddress;
  driver().fault = why;
}

void run_host_function(void (*function)(void*), void* data) {
  // A thread of its own, as in the driver: it is none of the JVM's.
  std::thread([=] {
    in_host_function = true;
    function(data);
  }).join();
}

}  // namespace emulator

using namespace emulator;

DRIVER_CALL(cuInit, unsigned flags) {
  ENTER(kAny);
  if (flags != 0) return kInvalidValue;
  Driver& d = driver();
  if (!d.initialized) {
    d.contexts.resize(size_t(setting("DEVICES", 1)));
    for (size_t i = 0; i < d.contexts.size(); ++i) d.contexts[i].device = int(i);
    d.initialized = true;
  }
  return kSuccess;
}

DRIVER_CALL(cuDriverGetVersion, int* version) {
  ENTER(kAny);
  *version = driver_version();
  return kSuccess;
}

DRIVER_CALL(cuGetErrorName, int result, const char** name) {
  const Text* const t = text_of(result);
  *name = t ? t->name : nullptr;
  return t ? kSuccess : kInvalidValue;
}

// The text of a failed kernel takes the place of the general one.
DRIVER_CALL(cuGetErrorString, int result, const char** text) {
  const Text* const t = text_of(result);
  const std::string& fault = driver().fault;
  *text = result == kIllegalAddress && !fault.empty() ? fault.c_str() : t ? t->text : nullptr;
  return t ? kSuccess : kInvalidValue;
}

DRIVER_CALL(cuDeviceGetCount, int* count) {
  ENTER(kDriver);
  *count = int(driver().contexts.size());
  return kSuccess;
}

DRIVER_CALL(cuDeviceGet, int* device, int ordinal) {
  ENTER(kDriver);
  if (!primary(ordinal)) return kInvalidDevice;
  *device = ordinal;
  return kSuccess;
}

DRIVER_CALL(cuDeviceGetName, char* name, int size, int device) {
  ENTER(kDriver);
  if (!primary(device)) return kInvalidDevice;
  snprintf(name, size_t(size), "fusednorm emulator, no GPU%s", checked ? ", checked" : "");
  return kSuccess;
}

DRIVER_CALL(cuDeviceTotalMem_v2, size_t* bytes, int device) {
  ENTER(kDriver);
  if (!primary(device)) return kInvalidDevice;
  *bytes = memory_of_device();
  return kSuccess;
}

DRIVER_CALL(cuDeviceGetAttribute, int* value, int attribute, int device) {
  ENTER(kDriver);
  if (!primary(device)) return kInvalidDevice;
  const std::map<int, int> values = {
      {1, 1024},  // threads in a block
      {2, 1024},
      {3, 1024},
      {4, 64},  // x, y, z of a block
      {5, 2147483647},
      {6, 65535},
      {7, 65535},     // of a grid
      {8, 48 << 10},  // shared memory of a block
      {10, 32},       // threads in a warp
      {12, 65536},    // registers of a block
      {16, kProcessors},
      {38, 50 << 20},  // L2
      {39, kThreadsOfProcessor},
      {41, 1},  // one address space with the host
      {75, architecture() / 10},
      {76, architecture() % 10},
      {81, 228 << 10},                // shared memory of a processor
      {82, 65536},                    // registers of a processor
      {97, largest_shared_memory()},  // of a block that asks for it
      {115, 1},                       // memory pools
      {120, architecture() >= 90},    // clusters
  };
  const auto at = values.find(attribute);
  *value = at == values.end() ? 0 : at->second;
  return kSuccess;
}

DRIVER_CALL(cuDevicePrimaryCtxRetain, Context** context, int device) {
  ENTER(kDriver);
  Context* const c = primary(device);
  if (!c) return kInvalidDevice;
  ++c->retained;
  *context = c;
  return kSuccess;
}

DRIVER_CALL(cuDevicePrimaryCtxRelease_v2, int device) {
  ENTER(kReleaseContext);
  Context* const c = primary(device);
  if (!c) return kInvalidDevice;
  if (c->retained == 0) return kInvalidContext;
  if (--c->retained == 0) destroy(*c);
  return call.end(kSuccess);
}

DRIVER_CALL(cuDevicePrimaryCtxGetState, int device, unsigned* flags, int* active) {
  ENTER(kDriver);
  const Context* const c = primary(device);
  if (!c) return kInvalidDevice;
  *flags = 0;
  *active = c->retained > 0;
  return kSuccess;
}

DRIVER_CALL(cuCtxPushCurrent_v2, Context* context) {
  ENTER(kDriver);
  if (!context) return kInvalidContext;
  current.push_back(context);
  return kSuccess;
}

DRIVER_CALL(cuCtxPopCurrent_v2, Context** context) {
  ENTER(kDriver);
  if (current.empty()) return kInvalidContext;
  if (context) *context = current.back();
  current.pop_back();
  return kSuccess;
}

DRIVER_CALL(cuCtxSetCurrent, Context* context) {
  ENTER(kDriver);
  if (!current.empty()) current.pop_back();
  if (context) current.push_back(context);
  return kSuccess;
}

DRIVER_CALL(cuCtxGetCurrent, Context** context) {
  ENTER(kDriver);
  *context = current_context();
  return kSuccess;
}

DRIVER_CALL(cuCtxGetDevice, int* device) {
  ENTER(kContext);
  *device = current_context()->device;
  return kSuccess;
}

DRIVER_CALL(cuCtxGetStreamPriorityRange, int* least, int* greatest) {
  ENTER(kContext);
  *least = *greatest = 0;
  return kSuccess;
}

DRIVER_CALL(cuCtxSynchronize, void) {
  ENTER(kWaiting);
  finish_all(current_context());
  return current_context()->broken;
}

// What the generated stubs answer with.
extern "C" int emulator_unsupported(const char* name) {
  fprintf(stderr, "emulator: %s is not emulated\n", name);
  return kNotSupported;
}
