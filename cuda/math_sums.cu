// Sums: the gradient of a bias, softmax cross-entropy, the number of right rows, squared norm.
//
// All of them are merged in an order that the launch fixes, with no atomics on the numbers, so that
// the same launch gives the same bits. F32 sums are short and go on in F64. Where several blocks
// take part, the last one that is done merges; `parts` and `ticket` are workspace of the launch,
// the ticket zero before it and after it.
//
// Block contract of every entry: a one-dimensional grid of blocks of kThreads threads.

#include "math.cuh"

// Values that an F32 sum takes before it goes on in F64.
constexpr int kShort = 32;

// ---- dbias[j] = sum over i of dy[i, j] ----

// A block has kTile columns and a slice of the rows: slices blocks for each tile, one after
// another. It reads whole lines of 32 elements; a warp has every eighth row of the slice.
constexpr int kTile = 32;
constexpr int kTall = kThreads / kTile;

struct BiasGradientArgs {
  int64_t type;
  const void* dy;
  void* dbias;
  int64_t rows, columns;  // rows may be 0
  int64_t slices;         // of the rows; the grid has slices * ceil(columns / kTile) blocks
  int64_t add;            // 1: added to dbias
  double* parts;          // slices * columns; null where slices is 1
  unsigned* tickets;      // one for each tile; null where slices is 1
};

template <class V>
BN_DEVICE double column_sum(const BiasGradientArgs& g, int64_t column, int64_t from, int64_t to) {
  double sum = 0;
  for (int64_t i = from; i < to;) {
    V part = 0;
    BN_UNROLL_BY(4)
    for (int k = 0; k < kShort; ++k, i += kTall) {
      if (i < to) part += load_element<V>(g.type, g.dy, i * g.columns + column);
    }
    sum += part;
  }
  return sum;
}

BN_ENTRY(kThreads) bias_gradient(const BiasGradientArgs g) {
  BN_SHARED(double, sums, kThreads);
  const int64_t tile = blockIdx.x / g.slices, slice = blockIdx.x % g.slices;
  const int lane = int(threadIdx.x) % kTile, warp = int(threadIdx.x) / kTile;
  const int64_t column = tile * kTile + lane;
  const bool mine = column < g.columns;

  double sum = 0;
  const int64_t height = (g.rows + g.slices - 1) / g.slices;
  const int64_t from = slice * height, to = from + height < g.rows ? from + height : g.rows;
  if (mine) {
    with_value(g.type, [&](auto v) { sum = column_sum<decltype(v)>(g, column, from + warp, to); });
  }
  // Of the warps' sums of a column, in their order; valid in the first warp.
  const auto of_warps = [&](double v) {
    sums[threadIdx.x] = v;
    __syncthreads();
    BN_UNROLL_BY(1)
    for (int i = 1; i < kTall && warp == 0; ++i) v += sums[i * kTile + lane];
    return v;
  };
  sum = of_warps(sum);
  if (g.slices > 1) {
    if (warp == 0 && mine) g.parts[slice * g.columns + column] = sum;
    if (!is_last(g.tickets + tile, unsigned(g.slices))) return;
    sum = 0;
    for (int64_t i = warp; i < g.slices && mine; i += kTall) sum += g.parts[i * g.columns + column];
    sum = of_warps(sum);
  }
  if (warp == 0 && mine) {
    with_value(g.type, [&](auto v) {
      using V = decltype(v);
      if (g.add) sum += load_element<V>(g.type, g.dbias, column);
      store_element(g.type, g.dbias, column, V(sum));
    });
  }
}

// ---- rows with labels ----

// Groups of `group` threads take a row each; the grid takes all rows in turns.
struct LabeledArgs {
  int64_t type;
  const void* logits;
  const void* labels;
  int64_t label_bytes;    // 4 or 8
  int64_t rows, columns;  // columns at least 1
  int64_t group;          // a power of two up to 32, or kThreads
  double* parts;          // one for each block
  unsigned* ticket;
  Complaint* complaint;
  void* out;      // loss, a double; or the number of right rows, an int64_t
  void* dlogits;  // softmax only; null: none; may be logits
  int64_t add;    // correct only; 1: added to out
};

// The label of a row, or -1 with a complaint where it is none. Called by all threads of a group.
BN_DEVICE int64_t label_of(const LabeledArgs& g, const Group& group, int64_t row) {
  const int64_t label =
      g.label_bytes == 4 ? ((const int32_t*)g.labels)[row] : ((const int64_t*)g.labels)[row];
  if (label >= 0 && label < g.columns) return label;
  if (group.rank() == 0) complain(g.complaint, kBadLabel, row, label, g.columns);
  return -1;
}

// This thread's part of -log softmax(row)[label]. A thread writes the gradient only where it read
// the logits itself, so that both may be in one place.
template <class V>
BN_DEVICE double row_loss(const LabeledArgs& g, const Group& group, int64_t row) {
  const bool mine = row < g.rows;  // groups without a row take part in the sums
  const int64_t columns = mine ? g.columns : 0;
  const int64_t label = mine ? label_of(g, group, row) : -1;
  const int64_t start = row * g.columns, rank = group.rank(), size = group.size;

  V largest = -INFINITY;
  BN_UNROLL_BY(1)
  for (int64_t j = rank; j < columns; j += size) {
    const V v = load_element<V>(g.type, g.logits, start + j);
    if (v > largest) largest = v;
  }
  const V top = V(group.max(largest));

  double sum = 0, loss = 0;
  for (int64_t j = rank; j < columns;) {
    V part = 0;
    BN_UNROLL_BY(1)
    for (int k = 0; k < kShort && j < columns; ++k, j += size) {
      const V v = load_element<V>(g.type, g.logits, start + j) - top;
      part += exponential(v);
      if (j == label) loss -= v;
    }
    sum += part;
  }
  sum = group.sum(sum);
  if (mine && rank == 0) loss += log(sum);

  if (g.dlogits) {
    const V each = V(1.0 / double(g.rows)), scale = V(1.0 / double(g.rows) / sum);
    BN_UNROLL_BY(1)
    for (int64_t j = rank; j < columns; j += size) {
      const V p = exponential(load_element<V>(g.type, g.logits, start + j) - top) * scale;
      store_element(g.type, g.dlogits, start + j, j == label ? p - each : p);
    }
  }
  return loss;
}

BN_ENTRY(kThreads) softmax_cross_entropy(const LabeledArgs g) {
  const Group group{unsigned(g.group)};
  double loss = 0, total;
  for (int64_t first = int64_t(blockIdx.x) * group.groups(); first < g.rows;
       first += int64_t(gridDim.x) * group.groups()) {
    const int64_t row = first + group.number();
    with_value(g.type, [&](auto v) { loss += row_loss<decltype(v)>(g, group, row); });
  }
  if (sum_of_grid(loss, g.parts, g.ticket, total)) {
    *(double*)g.out = g.rows == 0 ? 0.0 : total / double(g.rows);
  }
}

BN_DEVICE double logit(const LabeledArgs& g, int64_t i) {
  return g.type == kTypeF64 ? load_element<double>(g.type, g.logits, i)
                            : load_element<float>(g.type, g.logits, i);
}

BN_ENTRY(kThreads) correct(const LabeledArgs g) {
  const Group group{unsigned(g.group)};
  double right = 0, total;
  for (int64_t first = int64_t(blockIdx.x) * group.groups(); first < g.rows;
       first += int64_t(gridDim.x) * group.groups()) {
    const int64_t row = first + group.number(), start = row * g.columns;
    const int64_t label = row < g.rows ? label_of(g, group, row) : -1;
    // Columns that speak against the label: it must be the first of the largest, and a comparison
    // with NaN is false.
    double against = label < 0;
    if (label >= 0) {
      const double chosen = logit(g, start + label);
      BN_UNROLL_BY(1)
      for (int64_t j = group.rank(); j < g.columns; j += group.size) {
        const double other = logit(g, start + j);
        if (!(j < label ? chosen > other : chosen >= other)) ++against;
      }
    }
    against = group.sum(against);
    if (against == 0 && group.rank() == 0) ++right;
  }
  if (sum_of_grid(right, g.parts, g.ticket, total)) {
    int64_t* const count = (int64_t*)g.out;
    *count = int64_t(total) + (g.add ? *count : 0);
  }
}

// ---- sum of squares ----

struct SquaredNormArgs {
  int64_t type;
  const void* x;
  int64_t n;
  double* parts;  // one for each block
  unsigned* ticket;
  double* out;
  int64_t add;  // 1: added to out
};

BN_ENTRY(kThreads) squared_norm(const SquaredNormArgs g) {
  const int64_t step = threads_in_grid();
  double sum = 0, total;
  with_value(g.type, [&](auto v) {
    BN_UNROLL_BY(4)
    for (int64_t i = thread_in_grid(); i < g.n; i += step) {
      const double x = load_element<decltype(v)>(g.type, g.x, i);
      sum = fma_rn(x, x, sum);
    }
  });
  if (sum_of_grid(sum, g.parts, g.ticket, total)) *g.out = total + (g.add ? *g.out : 0);
}
