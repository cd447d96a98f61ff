// Inference: y = f(fma(x - c, a, b) + residual) over outer x channels x inner elements, where c, a
// and b belong to the channel and f is the identity or relu. Centering before scaling keeps the
// digits that x * a + b' would cancel at a large mean.
//
// Nothing is reduced: every element is read once, by the thread that writes it, so that y may be x
// or the residual itself (a partial overlap is not allowed). No thread waits for another.
//
//   entry           use it where (E = elements in 16 bytes: 4, or 8 for 16-bit types)
//   infer_plane_*   inner % E == 0: the E elements of a vector share a channel
//   infer_row_*     inner == 1 and channels % E == 0: a vector holds E consecutive channels
//   infer_mixed_*   any other shape: a vector may hold several channels; up to E - 1 elements of
//   tail infer_scalar_*  any shape, x, y or the residual not aligned to 16 bytes
//
// All but infer_scalar need x, y and the residual aligned to 16 bytes, infer_row the coefficients
// too. Bytes moved by each: one read of x and of the residual, one write of y, three floats a
// channel; the latter come from L1.

#include "portable.cuh"

struct InferArgs {
  const void* x;
  const void* residual;  // null: none
  void* y;
  const float* center;  // c, a, b: one float for each channel
  const float* scale;
  const float* shift;
  int64_t outer, channels, inner;  // each at least 1
  int64_t relu;                    // 1: relu, 0: identity
};

// Where a thread stands in (channel, position within the inner dimension), moved on by a fixed
// number of units with no division.
struct Cursor {
  int64_t inner, channels;
  int64_t position, channel;
  int64_t position_step, channel_step;

  BN_DEVICE Cursor(int64_t first, int64_t step, int64_t inner, int64_t channels)
      : inner(inner),
        channels(channels),
        position(first % inner),
        channel(first / inner % channels),
        position_step(step % inner),
        channel_step(step / inner % channels) {}

  BN_DEVICE void advance() { move(position_step, channel_step); }

  BN_DEVICE void move(int64_t positions, int64_t channels_on) {
    position += positions;
    channel += channels_on;
    if (position >= inner) {
      position -= inner;
      ++channel;
    }
    if (channel >= channels) channel -= channels;
  }
};

struct Coefficients {
  float c, a, b;

  BN_DEVICE Coefficients(const InferArgs& g, int64_t channel)
      : c(load_shared_by_many(g.center + channel)),
        a(load_shared_by_many(g.scale + channel)),
        b(load_shared_by_many(g.shift + channel)) {}

  BN_DEVICE float apply(float x) const { return fma_rn(sub_rn(x, c), a, b); }
};

// relu(NaN) is NaN: fmaxf would turn it into 0.
BN_DEVICE float activate(float v, bool relu) { return relu && v <= 0.0f ? 0.0f : v; }

// The three ways of finding the coefficients of a vector's E elements. Each thread has kBatch
// vectors in flight, as many as the registers hold.
struct Plane {
  static constexpr int kBatch = 2;
  static BN_DEVICE Cursor start(const InferArgs& g, int64_t first, int64_t step, int lanes) {
    return Cursor(first, step, g.inner / lanes, g.channels);
  }
  template <int E>
  static BN_DEVICE void normalize(const InferArgs& g, const Cursor& at, float (&v)[E]) {
    const Coefficients k(g, at.channel);
    BN_UNROLL
    for (int i = 0; i < E; ++i) v[i] = k.apply(v[i]);
  }
};

struct Row {
  static constexpr int kBatch = 2;
  static BN_DEVICE Cursor start(const InferArgs& g, int64_t first, int64_t step, int lanes) {
    return Cursor(first * lanes, step * lanes, 1, g.channels);
  }
  template <int E>
  static BN_DEVICE void normalize(const InferArgs& g, const Cursor& at, float (&v)[E]) {
    BN_UNROLL
    for (int i = 0; i < E; i += 4) {
      float c[4], a[4], b[4];
      load_shared_by_many(g.center + at.channel + i, c);
      load_shared_by_many(g.scale + at.channel + i, a);
      load_shared_by_many(g.shift + at.channel + i, b);
      BN_UNROLL
      for (int j = 0; j < 4; ++j) v[i + j] = fma_rn(sub_rn(v[i + j], c[j]), a[j], b[j]);
    }
  }
};

struct Mixed {
  static constexpr int kBatch = 1;
  static BN_DEVICE Cursor start(const InferArgs& g, int64_t first, int64_t step, int lanes) {
    return Cursor(first * lanes, step * lanes, g.inner, g.channels);
  }
  template <int E>
  static BN_DEVICE void normalize(const InferArgs& g, Cursor at, float (&v)[E]) {
    Coefficients k(g, at.channel);
    BN_UNROLL
    for (int i = 0; i < E; ++i) {
      v[i] = k.apply(v[i]);
      const int64_t before = at.channel;
      at.move(1, 0);
      if (at.channel != before) k = Coefficients(g, at.channel);
    }
  }
};

template <class T>
BN_DEVICE void infer_element(const InferArgs& g, int64_t i, int64_t channel) {
  using Stored = typename T::Stored;
  float v = Coefficients(g, channel).apply(T::widen(load_once((const Stored*)g.x + i)));
  if (g.residual) v = add_rn(v, T::widen(load_once((const Stored*)g.residual + i)));
  store((Stored*)g.y + i, T::narrow(activate(v, g.relu)));
}

template <class T, class Layout>
BN_DEVICE void infer_vectors(const InferArgs& g) {
  constexpr int kBatch = Layout::kBatch;
  const Packed* const x = (const Packed*)g.x;
  const Packed* const residual = (const Packed*)g.residual;
  Packed* const y = (Packed*)g.y;
  const int64_t elements = g.outer * g.channels * g.inner;
  const int64_t vectors = elements / T::kLanes;
  const int64_t first = thread_in_grid(), step = threads_in_grid();

  Cursor at = Layout::start(g, first, step, T::kLanes);
  for (int64_t start = first; start < vectors; start += kBatch * step) {
    Packed in[kBatch], add[kBatch];
    BN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      const int64_t i = start + k * step;
      if (i < vectors) in[k] = load_once(x + i);
      if (i < vectors && residual) add[k] = load_once(residual + i);
    }
    BN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      const int64_t i = start + k * step;
      if (i >= vectors) break;
      float v[T::kLanes], r[T::kLanes];
      T::unpack(in[k], v);
      Layout::normalize(g, at, v);
      at.advance();
      if (residual) {
        T::unpack(add[k], r);
        BN_UNROLL
        for (int j = 0; j < T::kLanes; ++j) v[j] = add_rn(v[j], r[j]);
      }
      BN_UNROLL
      for (int j = 0; j < T::kLanes; ++j) v[j] = activate(v[j], g.relu);
      store(y + i, T::pack(v));
    }
  }

  // The elements behind the last whole vector, one for each of the first threads.
  const int64_t rest = vectors * T::kLanes + first;
  if (rest < elements) infer_element<T>(g, rest, rest / g.inner % g.channels);
}

template <class T>
BN_DEVICE void infer_scalars(const InferArgs& g) {
  const int64_t elements = g.outer * g.channels * g.inner;
  const int64_t step = threads_in_grid();
  Cursor at(thread_in_grid(), step, g.inner, g.channels);
  for (int64_t i = thread_in_grid(); i < elements; i += step) {
    infer_element<T>(g, i, at.channel);
    at.advance();
  }
}

// Block contract of every entry: a one-dimensional grid of one-dimensional blocks of 32 to 256
// threads, no shared memory; any number of blocks is right, enough to fill the GPU is fast.
#define INFER_ENTRIES(name, T)                                                              \
  BN_ENTRY(256) infer_plane_##name(const InferArgs args) { infer_vectors<T, Plane>(args); } \
  BN_ENTRY(256) infer_row_##name(const InferArgs args) { infer_vectors<T, Row>(args); }     \
  BN_ENTRY(256) infer_mixed_##name(const InferArgs args) { infer_vectors<T, Mixed>(args); } \
  BN_ENTRY(256) infer_scalar_##name(const InferArgs args) { infer_scalars<T>(args); }

INFER_ENTRIES(f32, F32)
INFER_ENTRIES(f16, F16)
INFER_ENTRIES(bf16, BF16)
