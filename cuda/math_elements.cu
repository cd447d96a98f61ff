// Element by element: bias, activations and their gradients, the step of gradient descent, rows out
// of a table. Nothing is reduced and no thread waits for another.
//
// Block contract of every entry: a one-dimensional grid of blocks of kThreads threads, no shared
// memory; any number of blocks is right (of sgd, from one for each parameter on), enough to fill
// the GPU is fast. Bytes moved: one read of each input, one write of each output, four elements at
// a time where all of them are aligned to four.

#include "math.cuh"

// ---- y = x + bias ----

struct AddBiasArgs {
  int64_t type;
  const void *x, *bias;
  void* y;             // may be x
  int64_t n, columns;  // n a multiple of columns
};

template <class V>
struct AddBias {
  const AddBiasArgs& g;
  Position at;

  explicit BN_DEVICE AddBias(const AddBiasArgs& g) : g(g), at(g.columns) {}
  BN_DEVICE void start(int64_t i, int64_t step) { at.start(i, step); }
  BN_DEVICE void advance() { at.advance(); }

  BN_DEVICE void apply(int lane, const V (&x)[1], V (&y)[1]) const {
    // Four elements may hold the ends of several rows.
    int64_t column = at.column + lane;
    while (column >= at.columns) column -= at.columns;
    y[0] = x[0] + load_element<V>(g.type, g.bias, column);
  }
};

BN_ENTRY(kThreads) add_bias(const AddBiasArgs g) {
  with_value(g.type, [&](auto v) {
    Elements<1, 1>{g.type, {g.x}, {g.y}, g.n}.each(v, AddBias<decltype(v)>(g));
  });
}

// ---- activations ----

// Codes of the functions, the order of Nonlinearity.java.
enum : int64_t { kSigmoid, kTanh, kRelu };

struct ActivateArgs {
  int64_t type, function;
  const void* x;
  void* y;  // may be x
  int64_t n;
};

template <class V>
struct Activate : Everywhere {
  int64_t function;
  explicit BN_DEVICE Activate(int64_t function) : function(function) {}

  BN_DEVICE void apply(int, const V (&x)[1], V (&y)[1]) const {
    const V v = x[0];
    if (function == kSigmoid) {
      // With exp of what is not positive, it is accurate where it is tiny and never overflows.
      const V u = exponential(v < 0 ? v : -v);
      y[0] = (v < 0 ? u : V(1)) / (V(1) + u);
    } else if (function == kTanh) {
      y[0] = hyperbolic_tangent(v);
    } else {
      y[0] = v <= 0 ? V(0) : v;
    }
  }
};

BN_ENTRY(kThreads) activate(const ActivateArgs g) {
  with_value(g.type, [&](auto v) {
    Elements<1, 1>{g.type, {g.x}, {g.y}, g.n}.each(v, Activate<decltype(v)>(g.function));
  });
}

struct ActivationGradientArgs {
  int64_t type, function;
  const void *y, *dy;
  void* dx;  // may be y or dy
  int64_t n;
};

template <class V>
struct ActivationGradient : Everywhere {
  int64_t function;
  explicit BN_DEVICE ActivationGradient(int64_t function) : function(function) {}

  BN_DEVICE void apply(int, const V (&in)[2], V (&out)[1]) const {
    const V y = in[0], dy = in[1];
    if (function == kSigmoid) {
      out[0] = dy * (y * (V(1) - y));
    } else if (function == kTanh) {
      out[0] = dy * fma_rn(-y, y, V(1));
    } else {
      out[0] = y <= 0 ? V(0) : dy;
    }
  }
};

BN_ENTRY(kThreads) activation_gradient(const ActivationGradientArgs g) {
  with_value(g.type, [&](auto v) {
    Elements<2, 1>{g.type, {g.y, g.dy}, {g.dx}, g.n}.each(
        v, ActivationGradient<decltype(v)>(g.function));
  });
}

// ---- stochastic gradient descent ----

// A parameter and its own blocks: from `first` on, up to the first one of the next parameter.
struct Descent {
  int64_t type;
  void* value;
  const void* gradient;
  void* velocity;  // null: none
  int64_t n, first;
};

// As many as the 4 KB of a launch's arguments hold: of a network's parameters most are so small
// that a launch costs more than their step.
constexpr int kMostDescents = 84;

struct SgdArgs {
  const double *rate, *momentum, *decay;  // in device memory; null: 0
  int64_t count;                          // of descents, 1 at least
  Descent descent[kMostDescents];         // by their blocks, from 0 on
};

template <class V>
struct Descend : Everywhere {
  V rate, momentum, decay;

  BN_DEVICE Descend(V rate, V momentum, V decay) : rate(rate), momentum(momentum), decay(decay) {}

  BN_DEVICE void apply(int, const V (&in)[3], V (&out)[2]) const {
    const V step = fma_rn(momentum, in[2], fma_rn(decay, in[0], in[1]));
    out[0] = fma_rn(-rate, step, in[0]);
    out[1] = step;
  }
};

BN_ENTRY(kThreads) sgd(BN_ARGUMENTS(SgdArgs) g) {
  // The last one that begins with this block or before it.
  int at = 0;
  BN_UNROLL_BY(1)
  for (int step = 64; step > 0; step /= 2) {
    if (at + step < g.count && g.descent[at + step].first <= blockIdx.x) at += step;
  }
  const Descent& d = g.descent[at];
  const int64_t end = at + 1 < g.count ? g.descent[at + 1].first : gridDim.x;
  const int64_t thread = (blockIdx.x - d.first) * kThreads + threadIdx.x;
  const int64_t threads = (end - d.first) * kThreads;
  with_value(d.type, [&](auto v) {
    using V = decltype(v);
    const auto read = [](const double* p) { return p ? V(*p) : V(0); };
    const Descend<V> descend(read(g.rate), read(g.momentum), read(g.decay));
    Elements<3, 2>{d.type, {d.value, d.gradient, d.velocity}, {d.value, d.velocity}, d.n}.each(
        v, descend, thread, threads);
  });
}

// ---- out[i, :] = scale table[rows[i], :] ----

struct GatherArgs {
  int64_t
      type;  // of out where the table holds bytes to be scaled; -1: elements of any type, copied
  const void* table;
  const int64_t* rows;
  void* out;
  double scale;
  int64_t count, entries;  // of rows, of the table
  int64_t columns;         // elements in a row of out; bytes where they are copied
  Complaint* complaint;
};

BN_ENTRY(kThreads) gather(const GatherArgs g) {
  // Copies go in the largest units of 16, 4 or 1 bytes to which all rows are aligned.
  const uint64_t all = reinterpret_cast<uintptr_t>(g.table) | reinterpret_cast<uintptr_t>(g.out) |
                       uint64_t(g.columns);
  const int unit = g.type >= 0 || all % 4 != 0 ? 1 : all % 16 != 0 ? 4 : 16;
  const int64_t width = g.columns / unit;
  Position at(width);
  at.start(thread_in_grid(), threads_in_grid());
  BN_UNROLL_BY(1)
  for (; at.row < g.count; at.advance()) {
    const int64_t entry = g.rows[at.row];
    if (entry < 0 || entry >= g.entries) {
      complain(g.complaint, kBadRow, at.row, entry, g.entries);
      continue;
    }
    const int64_t from = entry * width + at.column, to = at.row * width + at.column;
    if (unit == 16) {
      store((Packed*)g.out + to, ((const Packed*)g.table)[from]);
    } else if (unit == 4) {
      ((uint32_t*)g.out)[to] = ((const uint32_t*)g.table)[from];
    } else {
      const uint8_t byte = ((const uint8_t*)g.table)[from];
      const double scaled = g.scale * byte;
      if (g.type < 0) {
        ((uint8_t*)g.out)[to] = byte;
      } else if (g.type == kTypeF64) {
        ((double*)g.out)[to] = scaled;
      } else {
        store_element(g.type, g.out, to, float(scaled));
      }
    }
  }
}
