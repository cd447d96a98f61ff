// A backward: the sums of g and of g (x - c) per channel, with g = dy gated by the activation, and
// dx = a (g - q - (x - c) p), with p and q the channel's slope and offset that follow from the
// sums; where there was a residual, its gradient is g. The gate comes from the forward's bits or,
// where it kept none, from its formula.
//
// The first half reduces over outer x inner: a thread's sums are F32, what is above F64. Where F32
// overflows the block takes its slice again in F64. channel_sums adds up the slices' parts. In the
// second half every element is read once, by the thread that writes it, so that dx may be dy or x,
// and dResidual dy.
//
//   entry                       does              use it where
//   backward_f32, _half         either, or both   as forward_f32, but for the gate
//                               in one launch
//   gradient_sums_scalar, _f64  the first half    as moments_scalar, _f64
//   input_gradient_f32, _half,  the second half   as normalize_f32, ...
//   _scalar, _f64
//
// Block contract: as of forward. Bytes moved: the first half reads x and dy and writes 16 bytes for
// each part; the second reads x and dy and writes dx and dResidual; both read a bit for each
// element where there is a gate.

#include "tickets.cuh"

struct BackwardArgs {
  const void *x, *dy;
  void *dx, *residual;  // the gradient of the residual null: none
  const uint8_t* gate;  // null: none kept
  const void* shift;
  Parts parts;     // of the first half: the two sums
  double* packed;  // sums of dy, sums of dy xhat
  SlopesOut slopes;
  int64_t relu, type, mode, reverse;  // as of forward
  Tickets tickets;
  Columns columns;
};

template <class V>
BN_DEVICE InputGradient<V> input_gradient(const BackwardArgs& g) {
  const SlopesOut& s = g.slopes;
  return {g.x,
          g.dy,
          g.dx,
          g.residual,
          g.gate,
          (const V*)s.center,
          (const V*)s.scale,
          (const V*)g.shift,
          (const V*)s.slope,
          (const V*)s.offset,
          g.relu != 0};
}

template <class Units>
BN_DEVICE GradientSums<Units> gradient_sums(const BackwardArgs& g) {
  using V = typename Units::Value;
  const SlopesOut& s = g.slopes;
  return {g.x,
          g.dy,
          g.gate,
          (const V*)s.center,
          (const V*)s.scale,
          (const V*)g.shift,
          g.relu != 0,
          (double*)g.parts.parts};
}

template <class Units>
BN_DEVICE void backward_sums(const BackwardArgs& g, int64_t task, double* scratch) {
  reduce_task(g.columns, Units(g.type), gradient_sums<Units>(g), task, scratch);
}
template <class Units>
BN_DEVICE void backward_values(const BackwardArgs& g, int64_t task) {
  apply_task(g.columns, Units(g.type), input_gradient<typename Units::Value>(g), task);
}
BN_DEVICE void backward_finish(const BackwardArgs& g, int64_t channel, int64_t channels) {
  double dy, dy_centered;
  g.parts.sums(channel, dy, dy_centered);
  if (threadIdx.x % 32 == 0) g.slopes.finish(channel, channels, dy, dy_centered, g.packed);
}

template <class Units>
BN_DEVICE void backward(const BackwardArgs& g) {
  const int64_t channels = g.columns.columns * g.columns.channels_of_unit<Units::kElements>();
  run_tasks<Units>(
      g.columns, g.mode, g.reverse, g.tickets,
      [&](int64_t task, double* scratch) { backward_sums<Units>(g, task, scratch); },
      [&](int64_t task) { backward_values<Units>(g, task); },
      [&](int64_t channel) { backward_finish(g, channel, channels); });
}

template <class Units>
BN_DEVICE void gradient_sums_only(const BackwardArgs& g) {
  BN_SHARED(double, scratch, kScratch<Units>);
  const Units units(g.type);
  const GradientSums<Units> sums = gradient_sums<Units>(g);
  BN_UNROLL_BY(1)
  for (int64_t task = blockIdx.x; task < g.columns.tasks(); task += gridDim.x) {
    reduce_task(g.columns, units, sums, task, scratch);
  }
}

template <class Units>
BN_DEVICE void input_gradient_flat(const BackwardArgs& g) {
  apply_flat<Units>(g.columns, g.type, input_gradient<typename Units::Value>(g));
}

BN_RESIDENT_ENTRY(256, 2) backward_f32(BN_ARGUMENTS(BackwardArgs) args) {
  backward<VectorsOfF32>(args);
}
BN_RESIDENT_ENTRY(256, 2) backward_half(BN_ARGUMENTS(BackwardArgs) args) {
  backward<VectorsOfHalf<4>>(args);
}

BN_RESIDENT_ENTRY(256, 2) gradient_sums_scalar(BN_ARGUMENTS(BackwardArgs) args) {
  gradient_sums_only<SingleFloats>(args);
}
BN_RESIDENT_ENTRY(256, 2) gradient_sums_f64(BN_ARGUMENTS(BackwardArgs) args) {
  gradient_sums_only<SingleDoubles>(args);
}

BN_RESIDENT_ENTRY(256, 2) input_gradient_f32(BN_ARGUMENTS(BackwardArgs) args) {
  input_gradient_flat<VectorsOfF32>(args);
}
BN_RESIDENT_ENTRY(256, 2) input_gradient_half(BN_ARGUMENTS(BackwardArgs) args) {
  input_gradient_flat<VectorsOfHalf<4>>(args);
}
BN_RESIDENT_ENTRY(256, 2) input_gradient_scalar(BN_ARGUMENTS(BackwardArgs) args) {
  input_gradient_flat<SingleFloats>(args);
}
BN_RESIDENT_ENTRY(256, 2) input_gradient_f64(BN_ARGUMENTS(BackwardArgs) args) {
  input_gradient_flat<SingleDoubles>(args);
}
