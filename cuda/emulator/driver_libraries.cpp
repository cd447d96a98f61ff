// What a library beside the driver needs that queues work of its own, as cublas.cpp does. No
// functions of the real driver, so their names say whose they are.

#include <string.h>

#include <algorithm>

#include "driver.h"

using namespace emulator;

// Queues, or captures, a call of work with a copy of the data. It returns null, or what has gone
// wrong, which is then a failure of the stream as that of a kernel.
DRIVER_CALL(emulator_queue, Stream* stream, const char* (*work)(const void*), const void* data,
            size_t bytes) {
  ENTER(kContext);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  const char* const from = static_cast<const char*>(data);
  return submit(*s, [work, c = s->context, copy = std::vector<char>(from, from + bytes)] {
    if (c->broken != kSuccess) return;
    if (const char* const why = work(copy.data())) break_context(c, why);
  });
}

// For such work: null where it may read or write these bytes of device memory, or why not. Bytes to
// be written count as written.
extern "C" __attribute__((visibility("default"))) const char* emulator_touch(uint64_t address,
                                                                             size_t bytes,
                                                                             int writes) {
  if (bytes == 0) return nullptr;
  const char* const p = reinterpret_cast<const char*>(address);
  Region* const r = find_live(const_cast<char*>(p), bytes);
  if (!r) return "a library touches memory that is not allocated";
  if (writes) {
    r->mark(p, bytes, kWritten);
  } else if (!r->state.empty()) {
    const auto first = r->state.begin() + (p - r->base);
    if (std::find(first, first + ptrdiff_t(bytes), kUnwritten) != first + ptrdiff_t(bytes)) {
      return "a library reads memory that was never written";
    }
  }
  return nullptr;
}
