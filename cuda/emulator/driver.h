// The parts of the fake driver. Together they are a libcuda.so.1 for tests: the functions that this
// project calls through JCuda 12.6.0, with the emulated GPU behind them. No header of the CUDA
// toolkit is used: version 13's renames functions (cuEventElapsedTime becomes
// cuEventElapsedTime_v2, and so do 66 more) that JCuda binds by the older name. driver_symbols.txt
// lists what JCuda binds; what is not defined here answers CUDA_ERROR_NOT_SUPPORTED, since calling
// a function that is missing would end the JVM.
//
// Modelled: errors of arguments and states as the driver reports them; streams that do their work
// as late as they may; captures and their rules; contexts of several devices; errors that stay.
// Not modelled: anything on two streams at a time, memory pools, peer access, textures.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "machine.h"

#define DRIVER_CALL(name, ...) \
  extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

namespace emulator {

enum Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinary = 209,
  kUnsupportedPtx = 222,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kOutOfResources = 701,
  kAlreadyRegistered = 712,
  kNotRegistered = 713,
  kNotPermitted = 800,
  kNotSupported = 801,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureMerge = 902,
  kCaptureUnmatched = 903,
  kCaptureUnjoined = 904,
  kCaptureImplicit = 906,
  kCapturedEvent = 907,
  kCaptureWrongThread = 908,
  kInvalidClusterSize = 912,
};

// What the environment says of the emulated machine, each name behind FUSEDNORM_EMULATOR_: DEVICES
// (1), ARCHITECTURE (90), DRIVER (13000: the CUDA version that it supports), MEMORY in MiB of each
// device (4096), STREAMS=eager (work is done when it is queued, not when somebody waits), SEED and
// PREEMPT of the schedule, FAILING_CALL and FAILURE (the n-th driver call, its code), TRACE (calls
// go to stderr).
int setting(const char* name, int otherwise);
constexpr int kProcessors = 4;
constexpr int kThreadsOfProcessor = 2048;

using Work = std::function<void()>;

struct Context {
  int device = 0;
  int retained = 0;
  int broken = kSuccess;  // what every call answers after a kernel has failed
};

struct Graph {
  std::vector<Work> work;
};

struct Stream;

struct Capture {
  std::unique_ptr<Graph> graph = std::make_unique<Graph>();
  Stream* origin;
  int mode;
  std::thread::id thread;
  bool invalid = false, ended = false;
  std::set<Stream*> open;  // streams with work that the origin does not wait for yet
};

struct Stream {
  Context* context;
  bool blocking = true;  // waits for the null stream, and that one for it
  std::deque<Work> queue = {};
  std::shared_ptr<Capture> capture = {};
  uint64_t captured = 0;  // pieces of work
};

struct Marker {
  bool done = false;
  double seconds = 0;
};

struct Event {
  Context* context;
  std::shared_ptr<Marker> marker = {};  // null: never recorded
  Stream* stream = nullptr;
  std::shared_ptr<Capture> capture = {};  // of the recording, if it was captured
  uint64_t captured = 0;
};

struct Module {
  Context* context;
  int architecture;  // that its code was compiled for
};

struct Function {
  Context* context;
  Module* module;
  const Entry* entry;
  size_t dynamic_limit = 48 << 10;
  bool any_cluster = false;
};

// Objects that the caller holds by address.
template <class T>
class Handles {
 public:
  template <class... Fields>
  T* make(Fields&&... fields) {
    auto object = std::unique_ptr<T>(new T{std::forward<Fields>(fields)...});
    T* const handle = object.get();
    objects_[handle] = std::move(object);
    return handle;
  }
  // The object, if it is one of the current context.
  T* get(T* handle) const {
    return objects_.count(handle) > 0 && of_current_context(*handle) ? handle : nullptr;
  }
  bool drop(T* handle) { return objects_.erase(handle) > 0; }
  template <class Condition>
  void drop_if(Condition condition) {
    for (auto at = objects_.begin(); at != objects_.end();) {
      at = condition(*at->second) ? objects_.erase(at) : std::next(at);
    }
  }
  size_t size() const { return objects_.size(); }
  const std::map<T*, std::unique_ptr<T>>& all() const { return objects_; }

 private:
  static bool of_current_context(const T& object);
  std::map<T*, std::unique_ptr<T>> objects_;
};

struct Driver {
  std::mutex mutex;
  bool initialized = false;
  std::vector<Context> contexts;  // the primary one of each device
  Handles<Stream> streams;
  Handles<Event> events;
  Handles<Module> modules;
  Handles<Function> functions;
  Handles<Graph> graphs, executables;
  std::map<char*, size_t> pinned, registered;
  std::map<Context*, Stream> null_streams;
  std::vector<std::shared_ptr<Capture>> captures;
  std::string fault;  // of the last kernel that failed

  uint64_t calls = 0, failing_call = 0;
  int failure = kSuccess;
};
Driver& driver();
Context* current_context();

template <class T>
bool Handles<T>::of_current_context(const T& object) {
  if constexpr (std::is_same_v<T, Graph>) {
    return true;
  } else {
    return object.context == current_context();
  }
}

// One call into the driver: holds its lock, counts, and finds out whether it is refused.
class Call {
 public:
  enum Kind {
    kAny,      // needs nothing
    kDriver,   // needs cuInit
    kContext,  // needs a current context that is not broken
    kWaiting,  // also forbidden while a stream is captured
    // These do their work even where they must report an error, as the driver does:
    kRelease,         // needs a current context
    kReleaseWaiting,  // also forbidden while a stream is captured
    kReleaseContext,  // needs cuInit
  };
  Call(const char* name, Kind kind);
  // The error to return at once, or kSuccess.
  int refused() const { return refused_; }
  int end(int result) const { return result != kSuccess ? result : afterwards_; }

 private:
  std::unique_lock<std::mutex> lock_;
  int refused_ = kSuccess, afterwards_ = kSuccess;
};
#define ENTER(kind)                      \
  const Call call(__func__, Call::kind); \
  if (call.refused() != kSuccess) return call.refused()

// Null for a handle that is none: a stream, or the null stream of the current context.
Stream* stream_of(Stream* handle);
// Queues work, or captures it.
int submit(Stream& s, Work work);
void finish(Stream& s);
// Everything that was queued in the context.
void finish_all(Context* c);
// On a thread that may not call the driver.
void run_host_function(void (*function)(void*), void* data);
size_t memory_of_device();
int architecture();
int driver_version();
int largest_shared_memory();
// A kernel or a copy failed while it was done.
void break_context(Context* c, const std::string& why);

}  // namespace emulator
