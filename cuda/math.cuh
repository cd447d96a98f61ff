// What the kernels of MathOps share: the choice of an element type at run time, loops over
// elements, sums over threads and blocks in a fixed order, complaints about data.
//
// Every entry takes one struct of fields of 8 bytes, and every size from 0 or 1 on (as its struct
// says) at any alignment of whole elements. A file of kernels includes this into its own namespace,
// so it is guarded by nothing.

#include "portable.cuh"

constexpr unsigned kThreads = 256;  // of every block of these kernels

// Codes of element types, as CudaMath.java writes them.
enum : int64_t { kTypeF32, kTypeF16, kTypeBF16, kTypeF64 };

// Calls f with a number of the kind that elements of a type are computed in, float or double: a
// branch that all threads take alike. Bodies for float take F32, F16 and BF16, and ask for the type
// where they load and store: one for each type would be three times the machine code.
template <class Function>
BN_DEVICE void with_value(int64_t type, const Function& f) {
  if (type == kTypeF64) {
    f(double());
  } else {
    f(float());
  }
}

template <class V>
BN_DEVICE V load_element(int64_t type, const void* p, int64_t i) {
  if constexpr (sizeof(V) == 8) {
    return ((const double*)p)[i];
  } else {
    if (type == kTypeF32) return ((const float*)p)[i];
    const uint16_t bits = ((const uint16_t*)p)[i];
    return type == kTypeF16 ? F16::widen(bits) : BF16::widen(bits);
  }
}

template <class V>
BN_DEVICE void store_element(int64_t type, void* p, int64_t i, V v) {
  if constexpr (sizeof(V) == 8) {
    ((double*)p)[i] = v;
  } else if (type == kTypeF32) {
    ((float*)p)[i] = v;
  } else {
    ((uint16_t*)p)[i] = type == kTypeF16 ? F16::narrow(v) : BF16::narrow(v);
  }
}

// The i-th four elements of an array that is aligned to four.
constexpr int kFour = 4;

BN_DEVICE void load_four(int64_t type, const void* p, int64_t i, float (&v)[kFour]) {
  if (type == kTypeF32) {
    F32::unpack(load_once((const Packed*)p + i), v);
  } else {
    const uint64_t bits = ((const uint64_t*)p)[i];
    BN_UNROLL
    for (int j = 0; j < kFour; ++j) {
      const uint16_t h = uint16_t(bits >> 16 * j);
      v[j] = type == kTypeF16 ? F16::widen(h) : BF16::widen(h);
    }
  }
}

BN_DEVICE void store_four(int64_t type, void* p, int64_t i, const float (&v)[kFour]) {
  if (type == kTypeF32) {
    store((Packed*)p + i, F32::pack(v));
  } else {
    uint64_t bits = 0;
    BN_UNROLL
    for (int j = 0; j < kFour; ++j) {
      const uint16_t h = type == kTypeF16 ? F16::narrow(v[j]) : BF16::narrow(v[j]);
      bits |= uint64_t(h) << 16 * j;
    }
    ((uint64_t*)p)[i] = bits;
  }
}

BN_DEVICE float exponential(float v) { return expf(v); }
BN_DEVICE double exponential(double v) { return exp(v); }
BN_DEVICE float hyperbolic_tangent(float v) { return tanhf(v); }
BN_DEVICE double hyperbolic_tangent(double v) { return tanh(v); }

// ---- elements ----

BN_DEVICE bool is_aligned(const void* p, int64_t type) {
  return reinterpret_cast<uintptr_t>(p) % (type == kTypeF32 ? 16 : 8) == 0;
}

// f.apply(lane, in, out) for every element of kIn inputs and kOut outputs. An input that is null
// reads as 0, an output that is null is dropped. An output may be an input: the thread that writes
// an element is the one that read it, and has read all inputs before.
// f.start(i, step): element i and the `lane`s behind it are next, each f.advance() goes on by step.
template <int kIn, int kOut>
struct Elements {
  int64_t type;
  const void* in[kIn];
  void* out[kOut];
  int64_t n;

  template <class V, class Function>
  BN_DEVICE void each(V v, Function f) const {
    each(v, f, thread_in_grid(), threads_in_grid());
  }
  // The same by `step` threads, of which this one is the `first`.
  template <class V, class Function>
  BN_DEVICE void each(V, Function f, int64_t first, int64_t step) const {
    int64_t rest = 0;
    if constexpr (sizeof(V) == 4) {
      if (aligned()) {
        rest = n / kFour * kFour;
        f.start(first * kFour, step * kFour);
        BN_UNROLL_BY(1)
        for (int64_t i = first; i < rest / kFour; i += step, f.advance()) four(i, f);
      }
    }
    f.start(rest + first, step);
    BN_UNROLL_BY(1)
    for (int64_t i = rest + first; i < n; i += step, f.advance()) {
      V a[kIn], b[kOut];
      BN_UNROLL
      for (int k = 0; k < kIn; ++k) a[k] = in[k] ? load_element<V>(type, in[k], i) : V(0);
      f.apply(0, a, b);
      BN_UNROLL
      for (int k = 0; k < kOut; ++k) {
        if (out[k]) store_element(type, out[k], i, b[k]);
      }
    }
  }

 private:
  BN_DEVICE bool aligned() const {
    bool all = true;
    BN_UNROLL
    for (int k = 0; k < kIn; ++k) all = all && is_aligned(in[k], type);
    BN_UNROLL
    for (int k = 0; k < kOut; ++k) all = all && is_aligned(out[k], type);
    return all;
  }

  template <class Function>
  BN_DEVICE void four(int64_t i, Function& f) const {
    float x[kIn][kFour] = {}, y[kOut][kFour];
    BN_UNROLL
    for (int k = 0; k < kIn; ++k) {
      if (in[k]) load_four(type, in[k], i, x[k]);
    }
    BN_UNROLL
    for (int j = 0; j < kFour; ++j) {
      float a[kIn], b[kOut];
      BN_UNROLL
      for (int k = 0; k < kIn; ++k) a[k] = x[k][j];
      f.apply(j, a, b);
      BN_UNROLL
      for (int k = 0; k < kOut; ++k) y[k][j] = b[k];
    }
    BN_UNROLL
    for (int k = 0; k < kOut; ++k) {
      if (out[k]) store_four(type, out[k], i, y[k]);
    }
  }
};

// A function that does not ask where it is.
struct Everywhere {
  BN_DEVICE void start(int64_t, int64_t) {}
  BN_DEVICE void advance() {}
};

// Row and column of an element of a matrix, moved on by a fixed number of elements with no
// division.
struct Position {
  int64_t columns, row = 0, column = 0, rows_on = 0, columns_on = 0;

  explicit BN_DEVICE Position(int64_t columns) : columns(columns) {}

  BN_DEVICE void start(int64_t element, int64_t step) {
    row = element / columns, column = element % columns;
    rows_on = step / columns, columns_on = step % columns;
  }
  BN_DEVICE void advance() {
    row += rows_on, column += columns_on;
    if (column >= columns) ++row, column -= columns;
  }
};

// ---- sums ----

// Threads that work together: `size` neighbours of a warp, a power of two up to 32, or the whole
// block. All threads of the block call each of these together.
struct Group {
  unsigned size;

  BN_DEVICE unsigned rank() const { return threadIdx.x & (size - 1); }
  BN_DEVICE unsigned number() const { return threadIdx.x / size; }
  BN_DEVICE unsigned groups() const { return kThreads / size; }

  // Of the whole group, the same bits in each of its threads.
  BN_DEVICE double sum(double v) const {
    return combine(v, [](double a, double b) { return a + b; });
  }
  // A NaN counts as nothing.
  BN_DEVICE double max(double v) const {
    return combine(v, [](double a, double b) { return b > a ? b : a; });
  }

 private:
  template <class Function>
  BN_DEVICE double combine(double v, const Function& f) const {
    const unsigned lanes = size < 32 ? size : 32;
    BN_UNROLL_BY(1)
    for (unsigned away = lanes / 2; away > 0; away /= 2) {
      v = f(v, __shfl_xor_sync(~0u, v, away));
    }
    if (size > 32) {
      BN_SHARED(double, warps, kThreads / 32);
      __syncthreads();  // whoever reads an earlier result
      if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
      __syncthreads();
      v = warps[0];
      BN_UNROLL_BY(1)
      for (unsigned i = 1; i < kThreads / 32; ++i) v = f(v, warps[i]);
    }
    return v;
  }
};

// Tells all threads of the block whether it is the last of `blocks` to come here; what the others
// wrote before is visible to it then. The ticket is zero before the first and after the last.
BN_DEVICE bool is_last(unsigned* ticket, unsigned blocks) {
  BN_SHARED(unsigned, drawn, 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    drawn[0] = atomicInc(ticket, blocks - 1);
    __threadfence();
  }
  __syncthreads();
  return drawn[0] == blocks - 1;
}

// The sum of every thread's part: those of a block by a tree, the blocks' in their order. Valid in
// thread 0 of the last block, which alone is told true. parts: one double for each block.
BN_DEVICE bool sum_of_grid(double part, double* parts, unsigned* ticket, double& total) {
  const Group block{kThreads};
  part = block.sum(part);
  if (threadIdx.x == 0) parts[blockIdx.x] = part;
  if (!is_last(ticket, gridDim.x)) return false;
  double sum = 0;
  BN_UNROLL_BY(1)
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) sum += parts[i];
  total = block.sum(sum);
  return threadIdx.x == 0;
}

// ---- complaints ----

// What a kernel found in its data that cannot be; zeros as long as all is well. The engine reads it
// when it waits.
struct Complaint {
  unsigned long long code;  // one of these
  int64_t position, value, limit;
};
enum : unsigned long long { kBadLabel = 1, kBadRow = 2 };

// value at `position` is not in 0..limit-1. The first complaint is kept.
BN_DEVICE void complain(Complaint* c, unsigned long long code, int64_t position, int64_t value,
                        int64_t limit) {
  if (atomicCAS(&c->code, 0, code) == 0) {
    c->position = position;
    c->value = value;
    c->limit = limit;
  }
}
