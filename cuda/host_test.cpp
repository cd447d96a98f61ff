// What the kernels share and no emulated GPU reaches: every 16-bit value, and indices where 32 bits
// would overflow. The kernels themselves run on the emulator, from Java.

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <string>

#include "norm.cuh"

Coordinates threadIdx, blockIdx, blockDim, gridDim;

void emulator::fault(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  abort();
}

namespace {

int failures = 0;

void check(bool good, const std::string& what) {
  if (!good && ++failures <= 20) fprintf(stderr, "FAILED %s\n", what.c_str());
}

// ---- 16-bit formats, against arithmetic that knows no bits ----

// Rounds to `digits` binary digits, and to multiples of the smallest subnormal.
double rounded(double v, int digits, int smallest) {
  if (v == 0 || !isfinite(v)) return v;
  const double unit = ldexp(1.0, std::max(ilogb(v) - digits + 1, smallest));
  return nearbyint(v / unit) * unit;
}

template <class T>
void check_format(const char* name, int digits, int smallest, double largest) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float v = T::widen(uint16_t(bits));
    const bool same = isnan(v) ? isnan(T::widen(T::narrow(v))) : T::narrow(v) == bits;
    check(same, std::string(name) + " does not round-trip " + std::to_string(bits));
    if (!isfinite(v) || v < 0 || v >= largest) continue;
    // Between this value and the next one: a quarter, the tie, three quarters, either side of it.
    const float next = T::widen(uint16_t(bits + 1)), tie = v + (next - v) / 2;
    for (float between : {v + (next - v) / 4, tie, v + (next - v) * 3 / 4, nextafterf(tie, 0),
                          nextafterf(tie, INFINITY)}) {
      const double expected = rounded(between, digits, smallest);
      check(T::widen(T::narrow(between)) == expected, std::string(name) + " rounds wrongly");
      check(T::widen(T::narrow(-between)) == -expected, std::string(name) + " rounds wrongly");
    }
  }
  check(isnan(T::widen(T::narrow(NAN))), std::string(name) + " loses NaN");
  check(isinf(T::widen(T::narrow(float(largest) * 1.01f))), std::string(name) + " overflow");
}

// ---- indices ----

void check_cursor() {
  const int64_t inner = (int64_t{1} << 32) + 3, channels = 5, step = (int64_t{7} << 33) + 11;
  int64_t unit = (int64_t{1} << 35) + 17;
  Cursor at(unit, step, inner, channels);
  for (int i = 0; i < 1000; ++i, unit += step, at.advance()) {
    check(at.position == unit % inner && at.channel == unit / inner % channels, "cursor");
  }
}

void check_quotient() {
  const int64_t divisors[] = {1, 2, 3, 7, 49, 1000003, (int64_t{1} << 33) - 1, int64_t{1} << 40};
  for (int64_t divisor : divisors) {
    for (int64_t k = 0; k < (int64_t{1} << 52) / divisor; k = 3 * k + 1) {
      for (int64_t n = k * divisor - 2; n <= k * divisor + 2; ++n) {
        if (n < 0) continue;
        int64_t rest;
        const int64_t q = quotient(n, divisor, 1.0 / double(divisor), rest);
        check(q == n / divisor && rest == n % divisor, "quotient");
      }
    }
  }
}

// The last tasks of planes of more than 2^32 units, with threads side by side and not.
void check_walker() {
  blockDim = {kThreads, 1, 1};
  for (int64_t width : {1, 8}) {
    const int64_t lanes = kThreads / width;
    Columns w = {};
    w.outer = 3, w.columns = 17, w.inner = (int64_t{1} << 32) + 5;
    w.width = width;
    w.slice = 3 * lanes + 1;
    w.slices = (w.units() + w.slice - 1) / w.slice;
    w.step_position = lanes % w.inner;
    w.step_address = lanes / w.inner * w.columns * w.inner + w.step_position;
    w.per_inner = 1 / double(w.inner);
    w.per_slices = 1 / double(w.slices);
    for (int64_t back : {1, 2, 1000003}) {
      for (unsigned thread : {0u, 1u, 9u, 255u}) {
        threadIdx = {thread, 0, 0};
        const int64_t task = w.tasks() - back;
        Walker at(w, task);
        int64_t unit = task % w.slices * w.slice + thread / width;
        const int64_t end = std::min(w.units(), (task % w.slices + 1) * w.slice);
        const int64_t column = task / w.slices * width + thread % width;
        for (; column < w.columns && unit < end; unit += lanes, at.advance(w)) {
          const int64_t address = (unit / w.inner * w.columns + column) * w.inner + unit % w.inner;
          check(at.active() && at.address == address, "walker");
        }
        check(!at.active(), "walker goes too far");
      }
    }
  }
}

}  // namespace

int main() {
  check_format<F16>("F16", 11, -24, 65504);
  check_format<BF16>("BF16", 8, -133, 0x1.fep127);
  check_cursor();
  check_quotient();
  check_walker();
  if (failures > 0) {
    fprintf(stderr, "cuda: %d failures on the host\n", failures);
    return 1;
  }
  printf("cuda: 16-bit formats and indices are right on the host\n");
  return 0;
}
