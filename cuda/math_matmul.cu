// c = op(a) op(b), or added to c: the matrix product where there is no cuBLAS. Tiles of c in
// registers, strips of a and b in shared memory; F32 and 16-bit types are summed in F32, F64 in
// F64, along the depth in order, whatever the tile.
//
//   entry           tile     use it where
//   matmul_64_*     64 x 64  there are enough tiles to fill the GPU
//   matmul_32_*     32 x 32  there are not
//
// Block contract: a one-dimensional grid with a block of kThreads threads for each tile, row by
// row of tiles. Bytes moved: each tile reads its rows of op(a) and its columns of op(b) once.

#include "math.cuh"

struct MatmulArgs {
  int64_t type;
  const void *a, *b;
  void* c;
  int64_t m, n, k;            // k may be 0
  int64_t a_row, a_depth;     // elements from one row of op(a) to the next, from column to column
  int64_t b_depth, b_column;  // the same of op(b)
  int64_t add;                // 1: added to c
};

constexpr int kSide = 16;   // threads along a side of the tile
constexpr int kDepth = 16;  // of a strip
static_assert(kSide * kSide == kThreads, "a block is a square of threads");

// Strips of op(a) or of op(b) transposed: kLines lines of the tile, kDepth deep, zero outside.
template <class V, int kLines>
struct Strips {
  static constexpr int kLoads = kLines * kDepth / int(kThreads);

  const void* from;
  int64_t type, line_step, depth_step;
  int64_t lines, depths;  // that are left
  bool along_depth;
  int line, depth;  // of the thread's first element

  BN_DEVICE Strips(const void* from, int64_t type, int64_t first, int64_t lines, int64_t line_step,
                   int64_t depths, int64_t depth_step)
      : from(from),
        type(type),
        line_step(line_step),
        depth_step(depth_step),
        lines(lines - first),
        depths(depths) {
    // Neighbours read neighbours.
    along_depth = depth_step == 1;
    const int me = int(threadIdx.x);
    line = along_depth ? me / kDepth : me % kLines;
    depth = along_depth ? me % kDepth : me / kLines;
    next = (first + line) * line_step + depth * depth_step;
  }

  BN_DEVICE void load_next(V* strip) {
    const int lines_on = along_depth ? int(kThreads) / kDepth : 0;
    const int depths_on = along_depth ? 0 : int(kThreads) / kLines;
    const int64_t step = lines_on * line_step + depths_on * depth_step;
    V v[kLoads];
    BN_UNROLL
    for (int i = 0; i < kLoads; ++i) {
      const bool inside = line + i * lines_on < lines && depth + i * depths_on < depths;
      v[i] = inside ? load_element<V>(type, from, next + i * step) : V(0);
    }
    BN_UNROLL
    for (int i = 0; i < kLoads; ++i) {
      strip[(depth + i * depths_on) * (kLines + 1) + line + i * lines_on] = v[i];
    }
    next += kDepth * depth_step;
    depths -= kDepth;
  }

 private:
  int64_t next;
};

template <class V, int kLines>
struct Product {
  static constexpr int kEach = kLines / kSide;  // lines of a thread, kSide apart
  static constexpr int kStride = kLines + 1;

  static BN_DEVICE void run(const MatmulArgs& g) {
    BN_SHARED(V, a, kDepth * kStride);
    BN_SHARED(V, b, kDepth * kStride);
    const int64_t across = (g.n + kLines - 1) / kLines;
    const int64_t row = blockIdx.x / across * kLines, column = blockIdx.x % across * kLines;
    const int x = int(threadIdx.x) % kSide, y = int(threadIdx.x) / kSide;

    Strips<V, kLines> of_a(g.a, g.type, row, g.m, g.a_row, g.k, g.a_depth);
    Strips<V, kLines> of_b(g.b, g.type, column, g.n, g.b_column, g.k, g.b_depth);
    V sum[kEach][kEach] = {};
    for (int64_t depth = 0; depth < g.k; depth += kDepth) {
      of_a.load_next(a);
      of_b.load_next(b);
      __syncthreads();
      BN_UNROLL_BY(4)
      for (int z = 0; z < kDepth; ++z) {
        V p[kEach], q[kEach];
        BN_UNROLL
        for (int i = 0; i < kEach; ++i) p[i] = a[z * kStride + y + i * kSide];
        BN_UNROLL
        for (int i = 0; i < kEach; ++i) q[i] = b[z * kStride + x + i * kSide];
        BN_UNROLL
        for (int i = 0; i < kEach; ++i) {
          BN_UNROLL
          for (int j = 0; j < kEach; ++j) sum[i][j] = fma_rn(p[i], q[j], sum[i][j]);
        }
      }
      __syncthreads();
    }

    BN_UNROLL
    for (int i = 0; i < kEach; ++i) {
      BN_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int64_t r = row + y + i * kSide, s = column + x + j * kSide;
        if (r >= g.m || s >= g.n) continue;
        const int64_t at = r * g.n + s;
        store_element(g.type, g.c, at,
                      g.add ? load_element<V>(g.type, g.c, at) + sum[i][j] : sum[i][j]);
      }
    }
  }
};

BN_ENTRY(kThreads) matmul_64_f32(const MatmulArgs g) { Product<float, 64>::run(g); }
BN_ENTRY(kThreads) matmul_32_f32(const MatmulArgs g) { Product<float, 32>::run(g); }
BN_ENTRY(kThreads) matmul_32_f64(const MatmulArgs g) { Product<double, 32>::run(g); }
