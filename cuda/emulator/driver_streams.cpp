// Streams, events, captures, graphs.
//
// Queued work is done when somebody waits for it: what forgets to wait reads old data every time
// and not once in a thousand runs. FUSEDNORM_EMULATOR_STREAMS=eager does it at once.

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>

#include "driver.h"

namespace emulator {

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool eager() {
  static const char* const text = getenv("FUSEDNORM_EMULATOR_STREAMS");
  return text && strcmp(text, "eager") == 0;
}

void do_next(Stream& s) {
  const Work work = std::move(s.queue.front());
  s.queue.pop_front();
  work();
}

// The streams that the null stream of the context waits for, and that wait for it.
template <class Action>
void each_blocking(Context* c, Action action) {
  for (const auto& [handle, s] : driver().streams.all()) {
    if (s->context == c && s->blocking) action(*s);
  }
}

void forget(const std::shared_ptr<Capture>& capture) {
  Driver& d = driver();
  for (const auto& [handle, s] : d.streams.all()) {
    if (s->capture == capture) s->capture = nullptr;
  }
  capture->ended = true;
  d.captures.erase(std::find(d.captures.begin(), d.captures.end(), capture));
}

int capture(Stream& s, Work work) {
  Capture& c = *s.capture;
  if (c.invalid) return kCaptureInvalidated;
  c.graph->work.push_back(std::move(work));
  ++s.captured;
  if (&s != c.origin) c.open.insert(&s);
  return kSuccess;
}

bool is_null(const Stream& s) { return &s == &driver().null_streams[s.context]; }

}  // namespace

Stream* stream_of(Stream* handle) {
  // 1 and 2 are the driver's names for the null stream, of the process and of the thread.
  Context* const c = current_context();
  if (reinterpret_cast<uintptr_t>(handle) > 2) return driver().streams.get(handle);
  Stream& s = driver().null_streams[c];
  s.context = c;
  return &s;
}

int submit(Stream& s, Work work) {
  if (s.capture) return capture(s, std::move(work));
  if (is_null(s)) {
    bool capturing = false;
    each_blocking(s.context, [&](Stream& other) {
      if (other.capture) other.capture->invalid = capturing = true;
    });
    if (capturing) return kCaptureImplicit;
    each_blocking(s.context, finish);
  } else if (s.blocking) {
    finish(driver().null_streams[s.context]);
  }
  s.queue.push_back(std::move(work));
  if (eager()) finish(s);
  return s.context->broken;
}

void finish(Stream& s) {
  while (!s.queue.empty()) do_next(s);
}

void finish_all(Context* c) {
  Driver& d = driver();
  if (d.null_streams.count(c) > 0) finish(d.null_streams[c]);
  for (const auto& [handle, s] : d.streams.all()) {
    if (s->context == c) finish(*s);
  }
}

}  // namespace emulator

using namespace emulator;

DRIVER_CALL(cuStreamCreate, Stream** stream, unsigned flags) {
  ENTER(kContext);
  if (flags > 1) return kInvalidValue;
  *stream = driver().streams.make(current_context(), flags == 0);
  return kSuccess;
}

DRIVER_CALL(cuStreamCreateWithPriority, Stream** stream, unsigned flags, int) {
  ENTER(kContext);
  if (flags > 1) return kInvalidValue;
  *stream = driver().streams.make(current_context(), flags == 0);
  return kSuccess;
}

DRIVER_CALL(cuStreamDestroy_v2, Stream* stream) {
  ENTER(kRelease);
  Stream* const s = driver().streams.get(stream);
  if (!s) return call.end(kInvalidHandle);
  if (s->capture && s->capture->origin == s) forget(s->capture);
  finish(*s);
  driver().streams.drop(s);
  return call.end(kSuccess);
}

DRIVER_CALL(cuStreamSynchronize, Stream* stream) {
  ENTER(kWaiting);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (s->capture) return s->capture->invalid = true, kCaptureUnsupported;
  finish(*s);
  return s->context->broken;
}

// Does one piece of work, so that who asks again and again sees the end.
DRIVER_CALL(cuStreamQuery, Stream* stream) {
  ENTER(kWaiting);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (s->capture) return s->capture->invalid = true, kCaptureUnsupported;
  if (s->queue.empty()) return kSuccess;
  do_next(*s);
  return s->context->broken != kSuccess ? s->context->broken : kNotReady;
}

DRIVER_CALL(cuLaunchHostFunc, Stream* stream, void (*function)(void*), void* data) {
  ENTER(kContext);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  return submit(*s, [=] { run_host_function(function, data); });
}

DRIVER_CALL(cuEventCreate, Event** event, unsigned) {
  ENTER(kContext);
  *event = driver().events.make(current_context());
  return kSuccess;
}

DRIVER_CALL(cuEventDestroy_v2, Event* event) {
  ENTER(kRelease);
  Event* const e = driver().events.get(event);
  if (!e) return call.end(kInvalidHandle);
  driver().events.drop(e);
  return call.end(kSuccess);
}

DRIVER_CALL(cuEventRecord, Event* event, Stream* stream) {
  ENTER(kContext);
  Event* const e = driver().events.get(event);
  Stream* const s = stream_of(stream);
  if (!e || !s) return kInvalidHandle;
  e->stream = s;
  e->capture = s->capture;
  e->captured = s->captured;
  if (s->capture) return kSuccess;
  e->marker = std::make_shared<Marker>();
  return submit(*s, [marker = e->marker] { *marker = {true, seconds()}; });
}

static int finish_event(const Event& e) {
  if (e.capture) return kCapturedEvent;
  while (e.marker && !e.marker->done) do_next(*e.stream);
  return e.context->broken;
}

DRIVER_CALL(cuEventSynchronize, Event* event) {
  ENTER(kWaiting);
  Event* const e = driver().events.get(event);
  return e ? finish_event(*e) : kInvalidHandle;
}

DRIVER_CALL(cuEventQuery, Event* event) {
  ENTER(kWaiting);
  Event* const e = driver().events.get(event);
  if (!e) return kInvalidHandle;
  if (e->capture) return kCapturedEvent;
  if (!e->marker || e->marker->done) return kSuccess;
  do_next(*e->stream);
  return e->context->broken != kSuccess ? e->context->broken : kNotReady;
}

DRIVER_CALL(cuEventElapsedTime, float* milliseconds, Event* from, Event* to) {
  ENTER(kContext);
  const Event *const a = driver().events.get(from), *const b = driver().events.get(to);
  if (!a || !b || !a->marker || !b->marker) return kInvalidHandle;
  if (!a->marker->done || !b->marker->done) return kNotReady;
  *milliseconds = float((b->marker->seconds - a->marker->seconds) * 1e3);
  return kSuccess;
}

DRIVER_CALL(cuStreamWaitEvent, Stream* stream, Event* event, unsigned) {
  ENTER(kContext);
  Event* const e = driver().events.get(event);
  Stream* const s = stream_of(stream);
  if (!e || !s) return kInvalidHandle;
  if (!e->capture) {
    if (!e->marker || e->marker->done) return kSuccess;
    if (s->capture) return s->capture->invalid = true, kCaptureMerge;
    return submit(*s, [marker = e->marker, other = e->stream] {
      while (!marker->done && !other->queue.empty()) do_next(*other);
    });
  }
  if (e->capture->ended) return kCapturedEvent;
  if (s->capture && s->capture != e->capture) return s->capture->invalid = true, kCaptureMerge;
  // The stream joins the capture; if the event is the other's last word, that one is joined.
  s->capture = e->capture;
  Capture& c = *s->capture;
  if (s != c.origin) c.open.insert(s);
  if (e->stream != s && e->captured == e->stream->captured) c.open.erase(e->stream);
  return kSuccess;
}

DRIVER_CALL(cuStreamBeginCapture_v2, Stream* stream, int mode) {
  ENTER(kContext);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  if (s->capture || is_null(*s)) return kCaptureUnsupported;
  if (mode < 0 || mode > 2) return kInvalidValue;
  s->capture = std::make_shared<Capture>();
  s->capture->origin = s;
  s->capture->mode = mode;
  s->capture->thread = std::this_thread::get_id();
  driver().captures.push_back(s->capture);
  return kSuccess;
}

DRIVER_CALL(cuStreamEndCapture, Stream* stream, Graph** graph) {
  ENTER(kRelease);
  constexpr int kRelaxed = 2;
  *graph = nullptr;
  Stream* const s = stream_of(stream);
  if (!s) return call.end(kInvalidHandle);
  const std::shared_ptr<Capture> c = s->capture;
  if (!c || c->origin != s) return call.end(kCaptureUnmatched);
  if (c->mode != kRelaxed && c->thread != std::this_thread::get_id()) {
    return call.end(kCaptureWrongThread);
  }
  forget(c);
  const int result = call.end(c->invalid        ? kCaptureInvalidated
                              : c->open.empty() ? kSuccess
                                                : kCaptureUnjoined);
  if (result == kSuccess) *graph = driver().graphs.make(std::move(*c->graph));
  return result;
}

DRIVER_CALL(cuStreamIsCapturing, Stream* stream, int* status) {
  ENTER(kContext);
  Stream* const s = stream_of(stream);
  if (!s) return kInvalidHandle;
  *status = !s->capture ? 0 : s->capture->invalid ? 2 : 1;
  return kSuccess;
}

DRIVER_CALL(cuGraphInstantiateWithFlags, Graph** executable, Graph* graph, unsigned long long) {
  ENTER(kContext);
  const Graph* const g = driver().graphs.get(graph);
  if (!g) return kInvalidValue;
  *executable = driver().executables.make(*g);
  return kSuccess;
}

DRIVER_CALL(cuGraphUpload, Graph* executable, Stream* stream) {
  ENTER(kContext);
  return driver().executables.get(executable) && stream_of(stream) ? kSuccess : kInvalidValue;
}

// The work is that of the capture, down to its parameters and addresses.
DRIVER_CALL(cuGraphLaunch, Graph* executable, Stream* stream) {
  ENTER(kContext);
  const Graph* const g = driver().executables.get(executable);
  Stream* const s = stream_of(stream);
  if (!g) return kInvalidValue;
  if (!s) return kInvalidHandle;
  return submit(*s, [all = g->work] {
    for (const Work& work : all) work();
  });
}

DRIVER_CALL(cuGraphDestroy, Graph* graph) {
  ENTER(kRelease);
  return call.end(driver().graphs.drop(graph) ? kSuccess : kInvalidValue);
}

DRIVER_CALL(cuGraphExecDestroy, Graph* executable) {
  ENTER(kRelease);
  return call.end(driver().executables.drop(executable) ? kSuccess : kInvalidValue);
}
