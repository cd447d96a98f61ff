// What the kernels of every instruction set offer, and how a call of them lies in memory.

#pragma once

#include <stdint.h>

namespace fusednorm {

// A call, the same for all ranges of it. The order of the fields is that of NativeNorm.java, which
// writes 64 bits for each.
//
// Data has outer x channels x inner elements of one type. Coefficients are per channel, and
// readable 16 floats past the last channel.
struct Call {
  const void* x;
  const void* residual;  // or null
  void* y;
  const void* dy;
  void* dx;
  void* d_residual;  // or null
  uint8_t* gate;     // or null: then it is recomputed from x
  int64_t channels;
  int64_t inner;
  int64_t rows_per_tile;  // where inner is 1: rows that are taken as one
  int64_t gate_stride;    // bytes from one tile, or plane, to the next
  int64_t type;           // 0 F32, 1 BF16, 2 F16
  int64_t relu;
  int64_t constants;  // dx is g a alone
  int64_t streams;    // outputs are too large for the caches
  float* center;
  float* scale;
  float* shift;
  float* slope;
  float* offset;
  double* part;  // results of a range, by channel from the range's slot on
  double* part2;

  // What is computed per channel between passes; a stripe's slot is its number x channels.
  int64_t stripes;
  const double* stripe_counts;  // values per channel in each
  double count;                 // values per channel in all, 0 where statistics are constants
  double eps;
  const float* gamma;  // or null: 1
  const float* beta;   // or null: 0
  double* mean;        // of the saved state, as all to saved_shift, or running
  double* variance;
  double* invstd;
  float* saved_center;
  float* saved_scale;
  float* saved_shift;
  double* sum_dy;
  double* sum_dy_xhat;
};

// Some outer indices, channels and inner indices. The last two are whole where inner is 1.
struct Range {
  int64_t outer_from;
  int64_t outer_to;
  int64_t channel_from;
  int64_t channel_to;
  int64_t inner_from;
  int64_t inner_to;
  int64_t slot;
};

// The most columns of a range, or lanes of a tile of rows.
constexpr int64_t kMostLanes = 2048;

// Rows of a table of bytes, by number.
struct Gather {
  const uint8_t* table;
  const int64_t* rows;
  float* out;
  int64_t count;  // of rows
  int64_t columns;
  double scale;
};

// The most columns of logits: two rows of doubles of them lie on the stack.
constexpr int64_t kMostClasses = 1024;

// Cross-entropy of rows of logits.
struct Softmax {
  const float* logits;
  const void* labels;
  bool short_labels;  // 32 bits each, else 64
  float* d;           // or null; may be the logits
  int64_t rows;       // in all
  int64_t columns;    // at most kMostClasses

  int64_t label(int64_t row) const {
    return short_labels ? ((const int32_t*)labels)[row] : ((const int64_t*)labels)[row];
  }
};

// A step of gradient descent.
struct Descent {
  float* value;
  const float* gradient;
  float* velocity;  // or null
  float rate;
  float kept;  // of the velocity: the momentum
  float decay;
};

struct Kernels {
  // part, part2 = mean and M2 of x.
  void (*moments)(const Call&, const Range&);
  // y = f((x - c) a + b + residual), and the gate.
  void (*normalize)(const Call&, const Range&);
  // part, part2 = sums of g and g (x - c), g the gated dy.
  void (*gradient_sums)(const Call&, const Range&);
  // dx = g a + (x - c) p + q, and d_residual = g.
  void (*input_gradient)(const Call&, const Range&);
  // Both at once: normalize for `done`, moments of `next`, which are some channels of the same
  // planes; either may be empty. Reading the one overlaps with writing the other.
  void (*normalize_and_moments)(const Call&, const Range& done, const Range& next);
  // From the moments of all stripes of some channels: coefficients, and what a saved state keeps.
  // These, and load and constants, say whether a channel is one that F32 lanes cannot hold.
  bool (*finish_moments)(const Call&, int64_t channel_from, int64_t channel_to);
  // Coefficients of a saved state, or of statistics that are constants.
  bool (*load_coefficients)(const Call&);
  bool (*constant_coefficients)(const Call&);
  // From the sums of all stripes of some channels: slope and offset, and the sums of all.
  void (*finish_sums)(const Call&, int64_t channel_from, int64_t channel_to);
  // y = f(x) and dx = dy f'(.) from y = f(.): 0 sigmoid, 1 tanh, 2 relu.
  void (*activate)(int function, const float* x, float* y, int64_t n);
  void (*activation_gradient)(int function, const float* y, const float* dy, float* dx, int64_t n);
  // Rows from .. to - 1 of out.
  void (*gather_bytes)(const Gather&, int64_t from, int64_t to);
  // The sum of the losses of rows from .. to - 1.
  double (*softmax)(const Softmax&, int64_t from, int64_t to);
  // Elements from .. to - 1.
  void (*sgd)(const Descent&, int64_t from, int64_t to);
};

extern const Kernels kernels_sse2;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const Kernels kernels_portable;  // where the processor is another

}  // namespace fusednorm
