// Runs the kernels on the host, one thread after another, over a table of shapes, and checks them
// against a plain double loop. The compiler's sanitizers watch every access.

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "infer.cu"

Coordinates threadIdx, blockIdx, blockDim, gridDim;

void emulator::fault(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  abort();
}

namespace {

void launch(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  for (blockIdx = {0, 0, 0}; blockIdx.x < blocks; ++blockIdx.x) {
    for (threadIdx = {0, 0, 0}; threadIdx.x < threads; ++threadIdx.x) kernel();
  }
}

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

// ---- the cursor, where 32 bits would overflow ----

void check_cursor() {
  const int64_t inner = (int64_t{1} << 32) + 3, channels = 5, step = (int64_t{7} << 33) + 11;
  int64_t unit = (int64_t{1} << 35) + 17;
  Cursor at(unit, step, inner, channels);
  for (int i = 0; i < 1000; ++i, unit += step, at.advance()) {
    check(at.position == unit % inner && at.channel == unit / inner % channels, "cursor");
  }
}

// ---- inference ----

struct Case {
  int64_t outer, channels, inner;
  int offset;  // elements by which x, y and the residual miss 16-byte alignment
  unsigned blocks, threads;
};

template <class T>
struct Entry {
  const char* name;
  void (*run)(InferArgs);
  bool (*fits)(const Case&);
};

template <class T>
const Entry<T>* entries();

#define ENTRIES(suffix, T)                                                                  \
  template <>                                                                               \
  const Entry<T>* entries<T>() {                                                            \
    static const Entry<T> all[] = {                                                         \
        {"infer_plane_" #suffix, infer_plane_##suffix,                                      \
         [](const Case& c) { return c.offset == 0 && c.inner % T::kLanes == 0; }},          \
        {"infer_row_" #suffix, infer_row_##suffix,                                          \
         [](const Case& c) {                                                                \
           return c.offset == 0 && c.inner == 1 && c.channels % T::kLanes == 0;             \
         }},                                                                                \
        {"infer_mixed_" #suffix, infer_mixed_##suffix,                                      \
         [](const Case& c) { return c.offset == 0; }},                                      \
        {"infer_scalar_" #suffix, infer_scalar_##suffix, [](const Case&) { return true; }}, \
    };                                                                                      \
    return all;                                                                             \
  }
ENTRIES(f32, F32)
ENTRIES(f16, F16)
ENTRIES(bf16, BF16)

// n elements whose first one misses 16-byte alignment by `offset` elements; the sanitizer watches
// what lies behind the last one. (new aligns to 16 bytes.)
template <class Stored>
struct Buffer {
  std::unique_ptr<Stored[]> memory;
  Stored* data;
  Buffer(size_t n, int offset) : memory(new Stored[n + offset]), data(memory.get() + offset) {}
};

int cases_run = 0;

// ulp: the relative spacing of T; smallest: its smallest subnormal.
template <class T>
void check_infer(const Case& c, const Entry<T>& entry, bool relu, bool residual, bool in_place,
                 double ulp, double smallest) {
  using Stored = typename T::Stored;
  const int64_t n = c.outer * c.channels * c.inner;
  std::mt19937 random(uint32_t(n * 31 + c.channels));
  std::normal_distribution<float> normal;
  Buffer<Stored> x(n, c.offset), r(n, c.offset), y(n, c.offset);
  Buffer<float> coefficients(3 * (c.channels + 3), 0);
  const int64_t pitch = (c.channels + 3) / 4 * 4;
  float *center = coefficients.data, *scale = center + pitch, *shift = scale + pitch;
  for (int64_t k = 0; k < c.channels; ++k) {
    center[k] = 100 + normal(random);
    scale[k] = normal(random);
    shift[k] = normal(random);
  }
  if (c.channels > 2) shift[1] = NAN;  // must stay in its channel
  for (int64_t i = 0; i < n; ++i) {
    x.data[i] = T::narrow(100 + 2 * normal(random));
    r.data[i] = T::narrow(normal(random));
    y.data[i] = T::narrow(12345);  // what must not be left
  }
  x.data[n / 2] = T::narrow(NAN);
  const std::vector<Stored> before(x.data, x.data + n);
  Stored* const out = in_place ? x.data : y.data;
  const InferArgs args{
      x.data, residual ? r.data : nullptr, out, center, scale, shift, c.outer, c.channels, c.inner,
      relu};
  launch(c.blocks, c.threads, [&] { entry.run(args); });
  ++cases_run;

  for (int64_t o = 0, i = 0; o < c.outer; ++o) {
    for (int64_t k = 0; k < c.channels; ++k) {
      for (int64_t j = 0; j < c.inner; ++j, ++i) {
        const double centered = double(T::widen(before[i])) - center[k];
        const double add = residual ? T::widen(r.data[i]) : 0;
        double expected = centered * scale[k] + shift[k] + add;
        const double size = fabs(centered * scale[k]) + fabs(shift[k]) + fabs(add);
        if (relu && expected <= 0) expected = 0;
        const double bound = 0x1p-23 * size + ulp / 2 * fabs(expected) * 1.001 + smallest / 2;
        const double actual = T::widen(out[i]);
        const bool good = isnan(expected) ? isnan(actual) : fabs(actual - expected) <= bound;
        char text[200];
        if (!good) {
          snprintf(
              text, sizeof text,
              "%s %ldx%ldx%ld offset %d relu %d residual %d in place %d: y[%ld] = %.9g, not %.9g",
              entry.name, long(c.outer), long(c.channels), long(c.inner), c.offset, relu, residual,
              in_place, long(i), actual, expected);
        }
        check(good, good ? "" : text);
      }
    }
  }
}

template <class T>
void check_infer_all(double ulp, double smallest) {
  // Exact vectors, tails, channels that are no power of two, one of everything, planes smaller than
  // a vector; grids from one warp to more threads than elements.
  const Case table[] = {
      {1, 1, 1, 0, 1, 32},    {1, 1, 7, 0, 1, 32},     {2, 3, 16, 0, 2, 64},
      {3, 5, 49, 0, 3, 96},   {2, 7, 3, 0, 1, 32},     {5, 3, 2, 0, 2, 32},
      {4, 64, 64, 0, 5, 128}, {2, 3, 1000, 0, 2, 256}, {33, 24, 1, 0, 2, 64},
      {100, 8, 1, 0, 1, 32},  {17, 100, 1, 0, 3, 32},  {19, 13, 1, 0, 1, 64},
      {1, 96, 1, 0, 40, 256}, {3, 1, 4096, 0, 1, 256}, {7, 1, 1, 0, 1, 32},
      {2, 3, 16, 1, 2, 64},   {3, 5, 49, 1, 1, 32},    {19, 13, 1, 3, 2, 32},
      {33, 24, 1, 1, 1, 64},  {257, 9, 1, 0, 1, 32},
  };
  for (const Case& c : table) {
    int fitting = 0;
    for (int e = 0; e < 4; ++e) {
      const Entry<T>& entry = entries<T>()[e];
      if (!entry.fits(c)) continue;
      ++fitting;
      for (int flags = 0; flags < 8; ++flags) {
        check_infer<T>(c, entry, flags & 1, flags & 2, flags & 4, ulp, smallest);
      }
    }
    check(fitting > 0, "no entry fits a shape");
  }
}

}  // namespace

int main() {
  check_format<F16>("F16", 11, -24, 65504);
  check_format<BF16>("BF16", 8, -133, 0x1.fep127);
  check_cursor();
  check_infer_all<F32>(0x1p-23, 0x1p-149);
  check_infer_all<F16>(0x1p-10, 0x1p-24);
  check_infer_all<BF16>(0x1p-7, 0x1p-133);
  if (failures > 0) {
    fprintf(stderr, "cuda: %d failures in %d cases on the host\n", failures, cases_run);
    return 1;
  }
  printf("cuda: %d cases on the host agree with plain double loops\n", cases_run);
  return 0;
}
