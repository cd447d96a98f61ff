// Every kernel of every instruction set that this machine has, on buffers that begin or end at a
// page that cannot be touched: one byte read or written outside ends the program. Results are
// compared with loops in double. `make sanitize` builds this and the kernels with sanitizers, too.

#include "../kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

using fusednorm::Call;
using fusednorm::Kernels;
using fusednorm::Range;

namespace {

[[noreturn]] void fail(const char* what, int64_t at, double expected, double actual) {
  fprintf(stderr, "%s: %g instead of %g at %lld\n", what, actual, expected, (long long)at);
  exit(1);
}

// Memory between two forbidden pages, at the first or the last byte between them.
class Guarded {
 public:
  Guarded(int64_t bytes, bool at_end) {
    const int64_t page = sysconf(_SC_PAGESIZE);
    size_ = (bytes + page - 1) / page * page + 2 * page;
    base_ = (char*)mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED || mprotect(base_, page, PROT_NONE) != 0 ||
        mprotect(base_ + size_ - page, page, PROT_NONE) != 0) {
      perror("guarded memory");
      exit(1);
    }
    data_ = at_end ? base_ + size_ - page - bytes : base_ + page;
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  char* data() const { return data_; }

 private:
  int64_t size_;
  char* base_;
  char* data_;
};

// Numbers of one of the types of Call. Values are multiples of 1/8, exact in all of them.
class Numbers {
 public:
  Numbers(int64_t n, int64_t type, bool at_end)
      : type_(type), memory_(n * (type == 0 ? 4 : 2), at_end) {}

  void* address() const { return memory_.data(); }

  void set(int64_t i, double v) {
    const float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint16_t half = (uint16_t)(bits >> 16);
    if (type_ == 2) {
      const uint16_t rest = (uint16_t)(((bits & 0x7fffffff) - (112u << 23)) >> 13);
      half = (uint16_t)((bits >> 16 & 0x8000) | (f == 0 ? 0 : rest));
    }
    if (type_ == 0) {
      memcpy(memory_.data() + 4 * i, &f, 4);
    } else {
      memcpy(memory_.data() + 2 * i, &half, 2);
    }
  }

  double get(int64_t i) const {
    float f;
    if (type_ == 0) {
      memcpy(&f, memory_.data() + 4 * i, 4);
      return f;
    }
    uint16_t half;
    memcpy(&half, memory_.data() + 2 * i, 2);
    uint32_t bits = (uint32_t)half << 16;
    if (type_ == 2) {
      if ((half & 0x7fff) > 0x7c00) return NAN;
      if ((half & 0x7fff) < 0x400) return ldexp(half & 0x3ff, -24) * (half >> 15 ? -1 : 1);
      bits = (half & 0x8000u) << 16 | (((half & 0x7fffu) << 13) + (112u << 23));
    }
    memcpy(&f, &bits, 4);
    return f;
  }

 private:
  int64_t type_;
  Guarded memory_;
};

uint32_t random_state = 1;

// A multiple of 1/8 in [-4, 4).
double next() {
  random_state = random_state * 1664525u + 1013904223u;
  return (double)(random_state >> 26) / 8 - 4;
}

struct Shape {
  int64_t outer, channels, inner;
};

void compare(const char* what, int64_t i, double expected, double actual, double tolerance) {
  if (!(fabs(actual - expected) <= tolerance * (1 + fabs(expected)))) {
    fail(what, i, expected, actual);
  }
}

// Random data of a shape and what a call of it needs.
struct Buffers {
  int64_t n, rows, stride, gates;
  Numbers x, residual, y, dy, dx, d_residual;
  Guarded gate;
  Numbers center, scale, shift, slope, offset;
  Guarded part, part2, mean, variance, invstd, sum_dy, sum_dy_xhat;
  Numbers saved_center, saved_scale, saved_shift;
  double count;
  Call call;

  Buffers(Shape s, int64_t type, int relu, bool kept, bool streams, bool at_end)
      : n(s.outer * s.channels * s.inner),
        rows(s.inner == 1 && s.channels < 512 ? 512 / s.channels : 1),
        stride(((s.inner == 1 ? rows * s.channels : s.inner) + 7) / 8),
        gates(s.inner == 1 ? (s.outer + rows - 1) / rows : s.outer * s.channels),
        x(n, type, at_end),
        residual(n, type, at_end),
        y(n, type, at_end),
        dy(n, type, at_end),
        dx(n, type, at_end),
        d_residual(n, type, at_end),
        gate(gates * stride, at_end),
        center(s.channels + 16, 0, at_end),
        scale(s.channels + 16, 0, at_end),
        shift(s.channels + 16, 0, at_end),
        slope(s.channels + 16, 0, at_end),
        offset(s.channels + 16, 0, at_end),
        part(8 * s.channels, at_end),
        part2(8 * s.channels, at_end),
        mean(8 * s.channels, at_end),
        variance(8 * s.channels, at_end),
        invstd(8 * s.channels, at_end),
        sum_dy(8 * s.channels, at_end),
        sum_dy_xhat(8 * s.channels, at_end),
        saved_center(s.channels, 0, at_end),
        saved_scale(s.channels, 0, at_end),
        saved_shift(s.channels, 0, at_end),
        count(s.outer * s.inner) {
    for (int64_t i = 0; i < n; ++i) {
      x.set(i, next());
      residual.set(i, next());
      dy.set(i, next());
    }
    for (int64_t c = 0; c < s.channels; ++c) {
      center.set(c, next());
      scale.set(c, next());
      // No value of y is 0 but by ReLU, so that rounding cannot decide about a gate.
      shift.set(c, next() + 1.0 / 128);
      slope.set(c, next());
      offset.set(c, next());
    }
    call = {x.address(),
            kept ? residual.address() : nullptr,
            y.address(),
            dy.address(),
            dx.address(),
            kept ? d_residual.address() : nullptr,
            kept && relu ? (uint8_t*)gate.data() : nullptr,
            s.channels,
            s.inner,
            rows,
            stride,
            type,
            relu,
            0,
            streams,
            (float*)center.address(),
            (float*)scale.address(),
            (float*)shift.address(),
            (float*)slope.address(),
            (float*)offset.address(),
            (double*)part.data(),
            (double*)part2.data(),
            1,
            &count,
            count,
            1e-5,
            nullptr,
            nullptr,
            (double*)mean.data(),
            (double*)variance.data(),
            (double*)invstd.data(),
            (float*)saved_center.address(),
            (float*)saved_scale.address(),
            (float*)saved_shift.address(),
            (double*)sum_dy.data(),
            (double*)sum_dy_xhat.data()};
  }
};

void test_moments(const Kernels& kernels, Shape s, const Buffers& b) {
  const int64_t values = s.outer * s.inner;
  kernels.moments(b.call, {0, s.outer, 0, s.channels, 0, s.inner, 0});
  for (int64_t c = 0; c < s.channels; ++c) {
    const auto x = [&](int64_t v) {
      return b.x.get((v / s.inner * s.channels + c) * s.inner + v % s.inner);
    };
    double mean = 0, m2 = 0;
    for (int64_t v = 0; v < values; ++v) mean += x(v) / (double)values;
    for (int64_t v = 0; v < values; ++v) m2 += (x(v) - mean) * (x(v) - mean);
    compare("mean", c, mean, b.call.part[c], 1e-6);
    compare("M2", c, m2, b.call.part2[c], 4e-6);
  }
}

// Values that lie far from all before, as those of one image may, and from the first of all, in
// every other channel.
void test_far(const Kernels& kernels, Shape s, int64_t type, bool at_end) {
  Buffers b(s, type, 0, false, false, at_end);
  for (int64_t i = 0; i < b.n; ++i) {
    const int64_t c = i / s.inner % s.channels, outer = i / s.inner / s.channels;
    const bool first = outer < 4 * b.rows, odd = 8 * outer / s.outer % 2;
    const double level = c % 2 ? 0 : 128 * first + 64 * odd;
    b.x.set(i, level + (next() < 0));
  }
  test_moments(kernels, s, b);
}

void test(const Kernels& kernels, Shape s, int64_t type, int relu, bool kept, bool streams,
          bool at_end) {
  const Buffers b(s, type, relu, kept, streams, at_end);
  const int64_t n = b.n;
  const Numbers &x = b.x, &residual = b.residual, &y = b.y, &dy = b.dy, &dx = b.dx,
                &d_residual = b.d_residual, &center = b.center, &scale = b.scale, &shift = b.shift,
                &slope = b.slope, &offset = b.offset;
  const Call& call = b.call;
  const Range all = {0, s.outer, 0, s.channels, 0, s.inner, 0};
  const double tolerance = type == 0 ? 1e-6 : type == 1 ? 8e-3 : 1e-3;

  test_moments(kernels, s, b);
  kernels.normalize(call, all);
  kernels.gradient_sums(call, all);
  Guarded sums(8 * s.channels, true), sums2(8 * s.channels, true);
  memset(sums.data(), 0, 8 * s.channels);
  memset(sums2.data(), 0, 8 * s.channels);
  kernels.input_gradient(call, all);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t c = i / s.inner % s.channels;
    const double d = x.get(i) - center.get(c);
    double v = d * scale.get(c) + shift.get(c) + (kept ? residual.get(i) : 0);
    const double g = relu && v <= 0 ? 0 : dy.get(i);
    if (relu && v <= 0) v = 0;
    compare("y", i, v, y.get(i), tolerance);
    compare("dx", i, g * scale.get(c) + d * slope.get(c) + offset.get(c), dx.get(i), tolerance);
    if (kept) compare("dResidual", i, g, d_residual.get(i), 0);
    ((double*)sums.data())[c] += g;
    ((double*)sums2.data())[c] += g * d;
  }
  for (int64_t c = 0; c < s.channels; ++c) {
    compare("sum of g", c, ((double*)sums.data())[c], call.part[c], 1e-5);
    compare("sum of g (x - c)", c, ((double*)sums2.data())[c], call.part2[c], 1e-5);
  }
}

// What is computed per channel, by the formulas and between guard pages.
void test_channels(const Kernels& kernels, Shape s, bool at_end) {
  Buffers b(s, 0, 0, false, false, at_end);
  const Range all = {0, s.outer, 0, s.channels, 0, s.inner, 0};
  kernels.moments(b.call, all);
  if (kernels.finish_moments(b.call, 0, s.channels)) fail("wide", 0, 0, 1);
  for (int64_t c = 0; c < s.channels; ++c) {
    const double invstd = 1 / sqrt(b.call.part2[c] / b.count + 1e-5);
    compare("invstd", c, invstd, b.call.invstd[c], 1e-14);
    compare("saved mean", c, b.call.part[c], b.call.mean[c], 0);
    compare("center", c, b.call.mean[c], b.call.center[c], 1e-7);
    compare("scale", c, invstd, b.call.scale[c], 1e-7);
    compare("shift", c, -(b.call.mean[c] - b.call.center[c]) * invstd, b.call.shift[c], 1e-7);
    if (memcmp(b.call.center + c, b.call.saved_center + c, 4) != 0) fail("saved", c, 0, 1);
  }
  memset((void*)b.call.scale, 0, 4 * s.channels);
  if (kernels.load_coefficients(b.call)) fail("wide", 0, 0, 1);
  compare("loaded scale", 0, b.call.saved_scale[0], b.call.scale[0], 0);
  kernels.gradient_sums(b.call, all);
  kernels.finish_sums(b.call, 0, s.channels);
  for (int64_t c = 0; c < s.channels; ++c) {
    const double g = b.call.part[c], gd = b.call.part2[c], inv = b.call.invstd[c];
    const double off = b.call.center[c] - b.call.mean[c];
    const double xhat = (gd + off * g) * inv;
    compare("sum of dy", c, g, b.call.sum_dy[c], 0);
    compare("sum of dy xhat", c, xhat, b.call.sum_dy_xhat[c], 1e-12);
    compare("slope", c, -b.call.scale[c] * xhat * inv / b.count, b.call.slope[c], 1e-6);
    compare("offset", c, -b.call.scale[c] * (g + off * xhat * inv) / b.count, b.call.offset[c],
            1e-6);
  }
  if (kernels.constant_coefficients(b.call)) fail("wide", 0, 0, 1);
  compare("constant scale", 0, b.call.saved_scale[0], b.call.scale[0], 0);
  b.call.mean[s.channels - 1] = 1e31;
  if (!kernels.constant_coefficients(b.call)) fail("wide", s.channels - 1, 1, 0);
}

// The pipeline gives the bits of the kernels that it joins, for groups of any number of channels:
// the first so many, and of every two one more than of the two before.
void test_pipeline(const Kernels& kernels, Shape s, int64_t type, int relu, bool kept, bool streams,
                   bool at_end, int64_t group) {
  Buffers b(s, type, relu, kept, streams, at_end);
  const int64_t values = s.outer * s.channels * s.inner;
  const size_t bytes = values * (type == 0 ? 4 : 2), sums = 8 * s.channels;
  const Range all = {0, s.outer, 0, s.channels, 0, s.inner, 0};
  std::vector<char> part(sums), part2(sums), y(bytes), gate(b.gates * b.stride);
  const auto save = [](std::vector<char>& to, const void* from) {
    memcpy(to.data(), from, to.size());
  };
  const auto same = [](const char* what, const std::vector<char>& expected, const void* actual) {
    const int64_t at = memcmp(expected.data(), actual, expected.size());
    if (at != 0) fail(what, 0, 0, (double)at);
  };

  kernels.moments(b.call, all);
  save(part, b.call.part);
  save(part2, b.call.part2);
  kernels.normalize(b.call, all);
  save(y, b.call.y);
  save(gate, b.gate.data());
  memset(b.call.y, 0, bytes);
  memset(b.gate.data(), 0, gate.size());
  memset(b.call.part, 0, sums);
  memset(b.call.part2, 0, sums);
  Range done = all, next = all;
  done.channel_to = 0;
  for (bool second = false; done.channel_to < s.channels; group += second, second = !second) {
    next.channel_from = done.channel_to;
    next.channel_to =
        next.channel_from + group < s.channels ? next.channel_from + group : s.channels;
    kernels.normalize_and_moments(b.call, done, next);
    done = next;
  }
  // At last none to read.
  next.channel_from = next.channel_to;
  kernels.normalize_and_moments(b.call, done, next);
  same("y of a pipeline", y, b.call.y);
  same("gate of a pipeline", gate, b.gate.data());
  same("mean of a pipeline", part, b.call.part);
  same("M2 of a pipeline", part2, b.call.part2);
}

// A NaN whose bits are all ones, which rounding would carry beyond the exponent, stays a NaN in its
// channel.
void test_nan(const Kernels& kernels, int64_t type, bool streams) {
  const Shape s = {3, 4, 96};
  Buffers b(s, type, 0, false, streams, false);
  const Range all = {0, s.outer, 0, s.channels, 0, s.inner, 0};
  memset(b.call.shift + 1, 0xff, 4);
  kernels.normalize(b.call, all);
  for (int64_t i = 0; i < s.outer * s.channels * s.inner; ++i) {
    const bool expected = i / s.inner % s.channels == 1;
    if (isnan(b.y.get(i)) != expected) fail("NaN", i, expected, b.y.get(i));
  }
}

void test_functions(const Kernels& kernels, bool at_end) {
  for (int64_t n = 1; n < 70; ++n) {
    Numbers x(n, 0, at_end), y(n, 0, at_end), dx(n, 0, at_end);
    for (int64_t i = 0; i < n; ++i) x.set(i, next());
    for (int f = 0; f < 3; ++f) {
      kernels.activate(f, (float*)x.address(), (float*)y.address(), n);
      kernels.activation_gradient(f, (float*)y.address(), (float*)x.address(), (float*)dx.address(),
                                  n);
      for (int64_t i = 0; i < n; ++i) {
        const double v = x.get(i);
        const double e = f == 0 ? 1 / (1 + exp(-v)) : f == 1 ? tanh(v) : fmax(v, 0);
        const double slope = f == 0 ? e * (1 - e) : f == 1 ? 1 - e * e : v > 0;
        compare("function", i, e, y.get(i), 3e-7);
        compare("gradient", i, v * slope, dx.get(i), 1e-6);
      }
    }
  }
}

// Rows of n classes, more of them than are taken at a time, and the gradient in place.
void test_softmax(const Kernels& kernels, int64_t n, bool at_end) {
  const int64_t rows = fusednorm::kMostClasses / n + 3;
  Numbers logits(rows * n, 0, at_end);
  Guarded labels(rows * 4, at_end);
  std::vector<double> gradient(rows * n);
  double loss = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t label = (int32_t)(r * 13 % n);
    memcpy(labels.data() + 4 * r, &label, sizeof label);
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      logits.set(r * n + j, 5 * next());
      sum += exp(logits.get(r * n + j));
    }
    for (int64_t j = 0; j < n; ++j) {
      gradient[r * n + j] = (exp(logits.get(r * n + j)) / sum - (j == label)) / rows;
    }
    loss += log(sum) - logits.get(r * n + label);
  }
  float* const d = (float*)logits.address();
  compare("loss", 0, loss, kernels.softmax({d, labels.data(), true, d, rows, n}, 0, rows), 1e-12);
  for (int64_t i = 0; i < rows * n; ++i) compare("gradient", i, gradient[i], d[i], 1e-7);
}

void test_training(const Kernels& kernels, bool at_end) {
  for (int64_t n = 1; n < 70; ++n) {
    Numbers value(n, 0, at_end), gradient(n, 0, at_end), velocity(n, 0, at_end);
    for (int64_t i = 0; i < n; ++i) {
      value.set(i, next());
      gradient.set(i, next());
      velocity.set(i, next());
    }
    for (int i = 0; i < 2; ++i) {
      float* const kept = i == 0 ? nullptr : (float*)velocity.address();
      std::vector<double> expected(n);
      for (int64_t j = 0; j < n; ++j) {
        const double d = gradient.get(j) + 0.25 * value.get(j) + (kept ? 0.5 * kept[j] : 0);
        expected[j] = value.get(j) - 0.125 * d;
      }
      kernels.sgd(
          {(float*)value.address(), (const float*)gradient.address(), kept, 0.125f, 0.5f, 0.25f}, 0,
          n);
      for (int64_t j = 0; j < n; ++j) compare("sgd", j, expected[j], value.get(j), 1e-6);
    }
    test_softmax(kernels, n, at_end);
    // Three rows of n bytes, the last one first.
    Guarded table(3 * n, at_end), rows(3 * 8, at_end), out(3 * 4 * n, at_end);
    for (int64_t i = 0; i < 3 * n; ++i) table.data()[i] = (char)(i * 31 + 200);
    const int64_t order[3] = {2, 0, 1};
    memcpy(rows.data(), order, sizeof order);
    kernels.gather_bytes({(const uint8_t*)table.data(), (const int64_t*)rows.data(),
                          (float*)out.data(), 3, n, 1.0 / 255},
                         0, 3);
    for (int64_t i = 0; i < 3 * n; ++i) {
      const uint8_t byte = (uint8_t)table.data()[order[i / n] * n + i % n];
      compare("gather", i, (float)(byte / 255.0), ((float*)out.data())[i], 1e-7);
    }
  }
}

void test_all(const char* name, const Kernels& kernels) {
  // One short of, at and past the lengths at which loops change; several tiles and blocks.
  const Shape shapes[] = {{1, 1, 2},     {3, 2, 7},    {5, 3, 15},    {5, 4, 16},    {2, 3, 17},
                          {4, 2, 49},    {3, 2, 63},   {3, 2, 64},    {7, 2, 65},    {9, 5, 196},
                          {2, 2, 511},   {5, 1, 513},  {3, 2, 4099},  {9, 1, 5000},  {600, 1, 30},
                          {6, 23, 529},  {2, 1, 1},    {5, 3, 1},     {70, 7, 1},    {33, 16, 1},
                          {700, 33, 1},  {9, 511, 1},  {70, 512, 1},  {131, 700, 1}, {3, 1023, 1},
                          {66, 1024, 1}, {70, 100, 1}, {257, 130, 1}, {40, 20, 49},  {9, 32, 49},
                          {3, 32, 49}};
  int64_t tests = 0;
  for (const Shape& s : shapes) {
    for (int bits = 0; bits < 48; ++bits) {
      test(kernels, s, bits / 16, bits & 1, bits & 2, bits & 4, bits & 8);
      ++tests;
      if (s.inner == 1) continue;
      // Two groups of small planes that end with a vector are taken side by side.
      const int64_t group = s.inner == 49 ? 16 : 1;
      test_pipeline(kernels, s, bits / 16, bits & 1, bits & 2, bits & 4, bits & 8, group);
      ++tests;
    }
  }
  for (const Shape& s : shapes) {
    test_channels(kernels, s, false);
    test_channels(kernels, s, true);
    for (int i = 0; i < 6; ++i) test_far(kernels, s, i / 2, i % 2);
  }
  for (int i = 0; i < 6; ++i) test_nan(kernels, i / 2, i % 2);
  test_functions(kernels, false);
  test_functions(kernels, true);
  test_training(kernels, false);
  test_training(kernels, true);
  printf("native: kernels for %s: %lld calls between guard pages\n", name, (long long)tests);
}

}  // namespace

int main() {
#if defined(FUSEDNORM_EMULATED_AVX512)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("f16c")) {
    printf("native: kernels for AVX-512 not tested: the emulation needs AVX2\n");
    return 0;
  }
  test_all("AVX-512, emulated", fusednorm::kernels_avx512);
#elif defined(__x86_64__)
  __builtin_cpu_init();
  test_all("SSE2", fusednorm::kernels_sse2);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
    test_all("AVX2", fusednorm::kernels_avx2);
  }
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
    test_all("AVX-512", fusednorm::kernels_avx512);
  }
#else
  test_all("this processor", fusednorm::kernels_portable);
#endif
}
