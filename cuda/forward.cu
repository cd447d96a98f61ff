// A training forward: mean and M2 (sum of squared deviations from the mean) per channel, and
// y = f(fma(x - c, a, b) + residual), where c, a and b belong to the channel and f is the identity
// or relu. Centering before scaling keeps the digits that x * a + b' would cancel at a large mean.
// Where a gate is kept, it gets a bit for each element: whether relu passes. Inference and
// recomputation are the second half alone.
//
// The first half reduces over outer x inner. Values are shifted by their slice's first one, which
// bounds the squares' sum by n + 1 times M2 whatever the mean; a thread's sums are F32, what is
// above F64. Where F32 loses too much (a first value far from the mean, squares that overflow or
// underflow) the block takes its slice again in F64. channel_moments merges the slices' parts. In
// the second half every element is read once, by the thread that writes it, so that y may be x or
// the residual itself (a partial overlap is not allowed).
//
//   entry                     does              use it where
//   forward_f32, _half        the first half,   whole vectors of 16 bytes: everything aligned, and
//                             or both at once   inner (or, for inner 1, channels) a multiple of the
//                                               elements of a vector; with a gate a multiple of 8
//   normalize_columns_f32,    the second half   the same
//   normalize_columns_half
//   moments_scalar            the first half    F32, F16 or BF16 of any shape at any address
//   moments_f64               the first half    F64
//   normalize_f32, _half      the second half   any shape, everything aligned to 16 bytes
//   normalize_scalar          the second half   F32, F16 or BF16 of any shape at any address
//   normalize_f64             the second half   F64
//
// Block contract: blocks of 256 threads, any number of them. No block waits for another, but in
// both halves at once, as tickets.cuh says; there the statistics are saved too. Results are valid
// when the launch is over. Bytes moved: the first half reads x and writes 16 bytes for each part;
// the second reads x and the residual and writes y, a bit for each element where there is a gate.

#include "tickets.cuh"

struct ForwardArgs {
  const void *x, *residual;  // the second one null: none
  void* y;
  uint8_t* gate;  // null: none
  Parts parts;    // of the first half: mean and M2
  SavedOut saved;
  int64_t relu, type, mode;
  int64_t reverse;  // the last tasks first, whose data the launch before read last
  Tickets tickets;
  Columns columns;
};

template <class V>
BN_DEVICE Normalize<V> normalize(const ForwardArgs& g) {
  const SavedOut& s = g.saved;
  return {
      g.x,        g.residual, g.y, g.gate, (const V*)s.center, (const V*)s.scale, (const V*)s.shift,
      g.relu != 0};
}

template <class Units>
BN_DEVICE void forward_sums(const ForwardArgs& g, int64_t task, double* scratch) {
  const MomentSums<Units> sums{g.x, (double*)g.parts.parts};
  reduce_task(g.columns, Units(g.type), sums, task, scratch);
}
template <class Units>
BN_DEVICE void normalize_columns(const ForwardArgs& g) {
  const Units units(g.type);
  const NormalizeAlone op{normalize<float>(g)};
  const int64_t tasks = g.columns.tasks();
  BN_UNROLL_BY(1)
  for (int64_t next = blockIdx.x; next < tasks; next += gridDim.x) {
    apply_task(g.columns, units, op, g.reverse ? tasks - 1 - next : next);
  }
}
template <class Units>
BN_DEVICE void forward_values(const ForwardArgs& g, int64_t task) {
  apply_task(g.columns, Units(g.type), normalize<typename Units::Value>(g), task);
}
BN_DEVICE void forward_finish(const ForwardArgs& g, int64_t channel) {
  double mean, m2;
  g.parts.moments(channel, mean, m2);
  if (threadIdx.x % 32 == 0) g.saved.put(channel, mean, m2 / double(g.parts.total));
  if (channel == 0 && threadIdx.x == 0) g.saved.put_count(g.parts.total);
}

template <class Units>
BN_DEVICE void forward(const ForwardArgs& g) {
  run_tasks<Units>(
      g.columns, g.mode, g.reverse, g.tickets,
      [&](int64_t task, double* scratch) { forward_sums<Units>(g, task, scratch); },
      [&](int64_t task) { forward_values<Units>(g, task); },
      [&](int64_t channel) { forward_finish(g, channel); });
}

template <class Units>
BN_DEVICE void moments(const ForwardArgs& g) {
  BN_SHARED(double, scratch, kScratch<Units>);
  const Units units(g.type);
  const MomentSums<Units> sums{g.x, (double*)g.parts.parts};
  BN_UNROLL_BY(1)
  for (int64_t task = blockIdx.x; task < g.columns.tasks(); task += gridDim.x) {
    reduce_task(g.columns, units, sums, task, scratch);
  }
}

template <class Units>
BN_DEVICE void normalize_flat(const ForwardArgs& g) {
  apply_flat<Units>(g.columns, g.type, normalize<typename Units::Value>(g));
}

BN_RESIDENT_ENTRY(256, 2) forward_f32(BN_ARGUMENTS(ForwardArgs) args) {
  forward<VectorsOfF32>(args);
}
BN_RESIDENT_ENTRY(256, 2) forward_half(BN_ARGUMENTS(ForwardArgs) args) {
  forward<VectorsOfHalf<8>>(args);
}

BN_RESIDENT_ENTRY(256, 2) normalize_columns_f32(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_columns<VectorsOfF32>(args);
}
BN_RESIDENT_ENTRY(256, 2) normalize_columns_half(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_columns<VectorsOfHalf<8>>(args);
}

BN_RESIDENT_ENTRY(256, 2) moments_scalar(BN_ARGUMENTS(ForwardArgs) args) {
  moments<SingleFloats>(args);
}
BN_RESIDENT_ENTRY(256, 2) moments_f64(BN_ARGUMENTS(ForwardArgs) args) {
  moments<SingleDoubles>(args);
}

BN_RESIDENT_ENTRY(256, 3) normalize_f32(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_flat<VectorsOfF32>(args);
}
BN_RESIDENT_ENTRY(256, 3) normalize_half(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_flat<VectorsOfHalf<8>>(args);
}
BN_RESIDENT_ENTRY(256, 2) normalize_scalar(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_flat<SingleFloats>(args);
}
BN_RESIDENT_ENTRY(256, 2) normalize_f64(BN_ARGUMENTS(ForwardArgs) args) {
  normalize_flat<SingleDoubles>(args);
}
