// The traffic of a normalization without its arithmetic, for org.fusednorm.bench.LimitNorm: what
// every other figure of the CPU benchmarks is a fraction of. x86-64 with AVX2, Linux.

#include <immintrin.h>
#include <jni.h>
#include <sched.h>
#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace {

constexpr int64_t kStep = 256;  // bytes, four cache lines
// Hardware prefetchers stop at 4 KiB; two loops of this distance ahead reached the most.
constexpr int64_t kAhead = 2048;

struct Work {
  bool streaming;
  const char* x;
  const char* second;
  char* y;
  int64_t bytes;
};

// Reads alone. What was read is looked at, or nothing would be.
template <bool kSecond>
void read(const Work& w, int64_t from, int64_t to) {
  __m256i sum[8] = {};
  for (int64_t i = from; i < to; i += kStep) {
    for (int64_t k = 0; k < kStep; k += 64) {
      _mm_prefetch(w.x + i + kAhead + k, _MM_HINT_T0);
      if (kSecond) _mm_prefetch(w.second + i + kAhead + k, _MM_HINT_T0);
    }
    for (int k = 0; k < 8; ++k) {
      const __m256i* x = reinterpret_cast<const __m256i*>(w.x + i) + k;
      sum[k] = _mm256_xor_si256(sum[k], _mm256_loadu_si256(x));
      if (kSecond) {
        const __m256i* second = reinterpret_cast<const __m256i*>(w.second + i) + k;
        sum[k] = _mm256_xor_si256(sum[k], _mm256_loadu_si256(second));
      }
    }
  }
  for (int k = 1; k < 8; ++k) sum[0] = _mm256_xor_si256(sum[0], sum[k]);
  __asm__ volatile("" : : "x"(sum[0]));
}

template <bool kStreaming, bool kSecond>
void move(const Work& w, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; i += kStep) {
    for (int64_t k = 0; k < kStep; k += 64) {
      _mm_prefetch(w.x + i + kAhead + k, _MM_HINT_T0);
      if (kSecond) _mm_prefetch(w.second + i + kAhead + k, _MM_HINT_T0);
    }
    for (int64_t k = 0; k < kStep; k += 32) {
      __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w.x + i + k));
      if (kSecond) {
        v = _mm256_xor_si256(
            v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w.second + i + k)));
      }
      __m256i* y = reinterpret_cast<__m256i*>(w.y + i + k);
      if (kStreaming) {
        _mm256_stream_si256(y, v);
      } else {
        _mm256_storeu_si256(y, v);
      }
    }
  }
  if (kStreaming) _mm_sfence();
}

int threads = 1;
Work work;
std::atomic<int64_t> generation{0};
std::atomic<int> running{0};

void part(int thread) {
  // A few bytes at the end are left out where the size is no multiple.
  const int64_t steps = work.bytes / kStep;
  const int64_t from = steps * thread / threads * kStep;
  const int64_t to = steps * (thread + 1) / threads * kStep;
  if (!work.y) {
    work.second ? read<true>(work, from, to) : read<false>(work, from, to);
  } else if (work.streaming) {
    work.second ? move<true, true>(work, from, to) : move<true, false>(work, from, to);
  } else {
    work.second ? move<false, true>(work, from, to) : move<false, false>(work, from, to);
  }
}

// Longer than from one call to the next, and short enough to leave the processor to others soon.
constexpr int kSpins = 20000;

// Never destroyed, because helpers wait on them when the process ends.
std::mutex& mutex = *new std::mutex;
std::condition_variable& called = *new std::condition_variable;

void help(int thread) {
  for (int64_t seen = 0;;) {
    for (int i = 0; i < kSpins && generation.load(std::memory_order_acquire) == seen; ++i) {
      _mm_pause();
    }
    if (generation.load(std::memory_order_acquire) == seen) {
      std::unique_lock<std::mutex> lock(mutex);
      called.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
    }
    ++seen;
    part(thread);
    running.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace

#define ENTRY(name) \
  extern "C" JNIEXPORT void JNICALL Java_org_fusednorm_bench_LimitNorm_00024Native_##name

ENTRY(start)(JNIEnv*, jclass, jint n) {
  threads = n;
  for (int i = 1; i < n; ++i) std::thread(help, i).detach();
}

ENTRY(move)
(JNIEnv*, jclass, jboolean streaming, jlong x, jlong second, jlong y, jlong bytes) {
  work = {streaming != 0, reinterpret_cast<const char*>(x), reinterpret_cast<const char*>(second),
          reinterpret_cast<char*>(y), bytes};
  running.store(threads - 1, std::memory_order_relaxed);
  {
    std::lock_guard<std::mutex> lock(mutex);
    generation.fetch_add(1, std::memory_order_release);
  }
  called.notify_all();
  part(0);
  while (running.load(std::memory_order_acquire) != 0) _mm_pause();
}

ENTRY(stay)(JNIEnv* env, jclass, jint processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  if (sched_setaffinity(0, sizeof one, &one) != 0) {
    env->ThrowNew(env->FindClass("java/lang/IllegalStateException"),
                  "this thread can't be kept on one processor");
  }
}
