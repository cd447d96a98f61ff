// A libcublas for tests: the functions of cuBLAS that this project calls, on the memory and the
// streams of the emulated driver. Compiled as libcublas.so.12 and as libcublas.so.13, which have
// their own symbol versions and tell their own version.
//
// It keeps cuBLAS's rules: a handle belongs to a context; setting the stream forgets the workspace
// that was set before; without one, a product cannot be captured. The workspace is scribbled over.

#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <vector>

#include "../portable.cuh"

extern "C" {
int cuCtxGetCurrent(void** context);
int cuStreamIsCapturing(void* stream, int* status);
int emulator_queue(void* stream, const char* (*work)(const void*), const void* data, size_t bytes);
const char* emulator_touch(uint64_t address, size_t bytes, int writes);
}

#define CUBLAS_CALL(name, ...) \
  extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

namespace {

enum Status {
  kSuccess = 0,
  kNotInitialized = 1,
  kAllocFailed = 3,
  kInvalidValue = 7,
  kExecutionFailed = 13,
  kNotSupported = 15,
};
enum Type { kF32 = 0, kF64 = 1, kF16 = 2, kBF16 = 14 };
enum Compute { kIn32 = 68, kIn64 = 70, kInTf32 = 77 };
enum Operation { kPlain = 0, kTransposed = 1 };

struct Handle {
  void* context;
  void* stream = nullptr;
  uint64_t workspace = 0;
  size_t workspace_bytes = 0;
};

std::mutex mutex;
std::set<Handle*>& handles = *new std::set<Handle*>;

bool known(Handle* h) {
  const std::lock_guard<std::mutex> lock(mutex);
  return handles.count(h) > 0;
}

size_t size_of(int type) { return type == kF64 ? 8 : type == kF32 ? 4 : 2; }

// Column-major: element (i, j) is at i + j * stride.
struct Matrix {
  uint64_t address;
  int type, rows, columns, stride;

  const char* touch(bool writes) const {
    for (int64_t j = 0; j < columns; ++j) {
      if (const char* const why = emulator_touch(address + uint64_t(j) * stride * size_of(type),
                                                 size_t(rows) * size_of(type), writes)) {
        return why;
      }
    }
    return nullptr;
  }
  double get(int64_t i, int64_t j) const {
    const int64_t at = i + j * stride;
    switch (type) {
      case kF32:
        return reinterpret_cast<const float*>(address)[at];
      case kF64:
        return reinterpret_cast<const double*>(address)[at];
      case kF16:
        return F16::widen(reinterpret_cast<const uint16_t*>(address)[at]);
      default:
        return BF16::widen(reinterpret_cast<const uint16_t*>(address)[at]);
    }
  }
  void put(int64_t i, int64_t j, double v) const {
    const int64_t at = i + j * stride;
    switch (type) {
      case kF32:
        reinterpret_cast<float*>(address)[at] = float(v);
        break;
      case kF64:
        reinterpret_cast<double*>(address)[at] = v;
        break;
      case kF16:
        reinterpret_cast<uint16_t*>(address)[at] = F16::narrow(float(v));
        break;
      default:
        reinterpret_cast<uint16_t*>(address)[at] = BF16::narrow(float(v));
    }
  }
};

struct Product {
  Matrix a, b, c;
  bool transpose_a, transpose_b;
  int depth, compute;
  double alpha, beta;
  uint64_t workspace;
  size_t workspace_bytes;
};

// TF32 has 10 bits of fraction.
double rounded(double v, int compute) {
  if (compute != kInTf32) return v;
  return float_of_bits((bits_of_float(float(v)) + 0xfff) & ~0x1fffu);
}

template <class V>
void multiply(const Product& p) {
  const size_t m = size_t(p.c.rows), n = size_t(p.c.columns), depth = size_t(p.depth);
  std::vector<V> a(m * depth), sum(m);  // a: a column behind the other
  for (size_t z = 0; z < depth; ++z) {
    for (size_t i = 0; i < m; ++i) {
      const double v =
          p.transpose_a ? p.a.get(int64_t(z), int64_t(i)) : p.a.get(int64_t(i), int64_t(z));
      a[z * m + i] = V(rounded(v, p.compute));
    }
  }
  for (size_t j = 0; j < n; ++j) {
    std::fill(sum.begin(), sum.end(), V(0));
    for (size_t z = 0; z < depth; ++z) {
      const double v =
          p.transpose_b ? p.b.get(int64_t(j), int64_t(z)) : p.b.get(int64_t(z), int64_t(j));
      const V factor = V(rounded(v, p.compute));
      const V* const column = &a[z * m];
      for (size_t i = 0; i < m; ++i) sum[i] += column[i] * factor;
    }
    for (size_t i = 0; i < m; ++i) {
      const double old = p.beta == 0 ? 0 : p.beta * p.c.get(int64_t(i), int64_t(j));
      p.c.put(int64_t(i), int64_t(j), old + p.alpha * double(sum[i]));
    }
  }
}

const char* run(const void* data) {
  Product p;
  memcpy(&p, data, sizeof p);
  if (p.workspace) {
    const size_t bytes = std::min<size_t>(p.workspace_bytes, 4096);
    if (const char* const why = emulator_touch(p.workspace, p.workspace_bytes, true)) return why;
    memset(reinterpret_cast<void*>(p.workspace), 0xab, bytes);
  }
  if (const char* const why = p.a.touch(false)) return why;
  if (const char* const why = p.b.touch(false)) return why;
  if (p.beta != 0) {
    if (const char* const why = p.c.touch(false)) return why;
  }
  if (const char* const why = p.c.touch(true)) return why;
  if (p.compute == kIn64) {
    multiply<double>(p);
  } else {
    multiply<float>(p);
  }
  return nullptr;
}

bool supported(int a, int b, int c, int compute) {
  if (a != b || b != c) return false;
  if (compute == kIn64) return a == kF64;
  if (compute == kInTf32) return a == kF32;
  return compute == kIn32 && (a == kF32 || a == kF16 || a == kBF16);
}

}  // namespace

void emulator::fault(const char*, ...) { abort(); }

CUBLAS_CALL(cublasCreate_v2, Handle** handle) {
  void* context = nullptr;
  if (cuCtxGetCurrent(&context) != 0 || !context) return kNotInitialized;
  *handle = new Handle{context};
  const std::lock_guard<std::mutex> lock(mutex);
  handles.insert(*handle);
  return kSuccess;
}

CUBLAS_CALL(cublasDestroy_v2, Handle* handle) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (handles.erase(handle) == 0) return kNotInitialized;
  delete handle;
  return kSuccess;
}

CUBLAS_CALL(cublasGetVersion_v2, Handle* handle, int* version) {
  if (!known(handle)) return kNotInitialized;
  *version = VERSION;
  return kSuccess;
}

CUBLAS_CALL(cublasSetStream_v2, Handle* handle, void* stream) {
  if (!known(handle)) return kNotInitialized;
  handle->stream = stream;
  handle->workspace = 0;
  return kSuccess;
}

CUBLAS_CALL(cublasSetWorkspace_v2, Handle* handle, uint64_t workspace, size_t bytes) {
  if (!known(handle)) return kNotInitialized;
  if (workspace % 256 != 0) return kInvalidValue;
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return kSuccess;
}

CUBLAS_CALL(cublasSetMathMode, Handle* handle, int) {
  return known(handle) ? kSuccess : kNotInitialized;
}

CUBLAS_CALL(cublasGemmEx, Handle* handle, int of_a, int of_b, int m, int n, int k,
            const void* alpha, uint64_t a, int type_a, int stride_a, uint64_t b, int type_b,
            int stride_b, const void* beta, uint64_t c, int type_c, int stride_c, int compute,
            int) {
  if (!known(handle)) return kNotInitialized;
  const bool ta = of_a != kPlain, tb = of_b != kPlain;
  if (m < 0 || n < 0 || k < 0 || of_a > kTransposed || of_b > kTransposed ||
      stride_a < std::max(1, ta ? k : m) || stride_b < std::max(1, tb ? n : k) ||
      stride_c < std::max(1, m)) {
    return kInvalidValue;
  }
  if (!supported(type_a, type_b, type_c, compute)) return kNotSupported;
  void* context = nullptr;
  int capturing = 0;
  if (cuCtxGetCurrent(&context) != 0 || context != handle->context ||
      cuStreamIsCapturing(handle->stream, &capturing) != 0) {
    return kExecutionFailed;
  }
  if (capturing && !handle->workspace) return kAllocFailed;
  const bool wide = compute == kIn64;
  const auto number = [&](const void* p) {
    return wide ? *static_cast<const double*>(p) : *static_cast<const float*>(p);
  };
  const Product p = {{a, type_a, ta ? k : m, ta ? m : k, stride_a},
                     {b, type_b, tb ? n : k, tb ? k : n, stride_b},
                     {c, type_c, m, n, stride_c},
                     ta,
                     tb,
                     k,
                     compute,
                     number(alpha),
                     number(beta),
                     handle->workspace,
                     handle->workspace_bytes};
  return emulator_queue(handle->stream, run, &p, sizeof p) == 0 ? kSuccess : kExecutionFailed;
}
