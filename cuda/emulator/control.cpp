// What tests ask of the emulator itself: schedules, failures, counts. The functions of the class
// org.fusednorm.cuda.Emulator in the tests, which the JVM finds here because it loaded this
// library; C++ calls the same. (JNIEnv* and the class are not used: no header of the JDK is
// needed.)

#include "driver.h"

using namespace emulator;

#define CONTROL(type, name, ...)                    \
  extern "C" __attribute__((visibility("default"))) \
  type Java_org_fusednorm_cuda_Emulator_##name(void*, void*, ##__VA_ARGS__)

// The order in which threads take turns from the next launch on.
CONTROL(void, schedule, int64_t seed, int64_t preempt) {
  const std::lock_guard<std::mutex> lock(driver().mutex);
  emulator::schedule = {uint64_t(seed), uint64_t(preempt)};
}

// The call-th driver call from now on fails with the code; 0: none.
CONTROL(void, failCall, int64_t call, int32_t code) {
  Driver& d = driver();
  const std::lock_guard<std::mutex> lock(d.mutex);
  d.failing_call = call == 0 ? 0 : d.calls + uint64_t(call);
  d.failure = code;
}

// What lives in the driver or was counted, in the order of the enum of that class; -1: no such.
CONTROL(int64_t, count, int32_t what) {
  Driver& d = driver();
  const std::lock_guard<std::mutex> lock(d.mutex);
  int retained = 0;
  size_t bytes = 0;
  for (const Context& c : d.contexts) {
    retained += c.retained;
    bytes += bytes_in_use(c.device);
  }
  const uint64_t all[] = {d.calls,
                          counts.launches,
                          counts.switches,
                          counts.accesses,
                          live_allocations(),
                          bytes,
                          d.pinned.size() + d.registered.size(),
                          d.streams.size(),
                          d.events.size(),
                          d.graphs.size(),
                          d.executables.size(),
                          d.modules.size(),
                          uint64_t(retained)};
  return what >= 0 && size_t(what) < sizeof all / sizeof *all ? int64_t(all[what]) : -1;
}
