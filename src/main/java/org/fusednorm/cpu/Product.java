package org.fusednorm.cpu;

import org.fusednorm.DType;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * Matrix products: OpenBLAS where it is, on parts of c that depend on the sizes alone; plain Java
 * where it is not, or where memory has no address. One per Java thread.
 */
final class Product extends Job {
  /** Up to 100^3 multiplications OpenBLAS works without packing, which is a third faster. */
  private static final long UNPACKED = 1_000_000;

  /** Least multiplications that are worth a second thread, about 6 us. */
  private static final long LEAST_WORK = 300_000;

  /** The same for columns of a transposed b, of which a few are taken as fast as many. */
  private static final long LEAST_VECTORS = 96_000;

  /** Multiplications per part where it has to pack both operands. */
  private static final long PACKED = 2_000_000;

  private static final int MOST_PACKED = 16;
  private static final int LEAST_PACKED = 32;

  /** Least rows or columns of a part, of which every part's size is a multiple. */
  private static final int STEP = 4;

  /** Multiplications in a nanosecond of one thread, about; F64 makes half as many. */
  private static final int PER_NANO = 140;

  private static final int PLAIN_PER_NANO = 10;

  /** Rows of a part of a wide c from a transposed a, which OpenBLAS multiplies fastest. */
  private static final int DOZEN = 12;

  /** Numbers in the longest vectors. */
  private static final int VECTOR = 16;

  private final Workers workers;
  private final Gemm plain = new Gemm();
  private boolean transposeA;
  private boolean transposeB;
  private boolean add;
  private boolean byRows;
  private boolean wide;
  private int m;
  private int n;
  private int k;
  private int step;
  private long a;
  private long b;
  private long c;

  Product(Workers workers) {
    this.workers = workers;
  }

  static String describe() {
    return OpenBlas.isAvailable()
        ? OpenBlas.version()
        : "plain Java matrix products (" + OpenBlas.missing().cause() + ")";
  }

  void matmul(Tensor ta, boolean transA, Tensor tb, boolean transB, Tensor tc, Write w) {
    m = Math.toIntExact(MathCall.rows(tc));
    n = Math.toIntExact(MathCall.columns(tc));
    k = Math.toIntExact(transA ? MathCall.rows(ta) : MathCall.columns(ta));
    boolean addressed =
        ta.storage().address() != 0 && tb.storage().address() != 0 && tc.storage().address() != 0;
    // BLAS refuses rows of no length.
    if (k == 0 || !addressed || !OpenBlas.isAvailable()) {
      plain.a.set(ta);
      plain.b.set(tb);
      plain.c.set(tc);
      workers.run(plain, plain.set(transA, transB, m, n, k, w), (long) m * n * k / PLAIN_PER_NANO);
      return;
    }
    transposeA = transA;
    transposeB = transB;
    add = w == Write.ADD;
    wide = tc.dtype() == DType.F64;
    a = ta.storage().address() + ta.byteOffset();
    b = tb.storage().address() + tb.byteOffset();
    c = tc.storage().address() + tc.byteOffset();
    workers.run(this, split(), (long) m * n * k / (wide ? PER_NANO / 2 : PER_NANO));
  }

  private int split() {
    if (m == 0 || n == 0) {
      return 0;
    }
    // A transposed b is rearranged by every part that reads it.
    byRows = transposeB ? m > 2L * n : m >= n;
    // Threads get the rows of a gradient whose weights they will change, as those before.
    if (transposeA && !byRows && m >= 4 * DOZEN && (long) DOZEN * n * k <= UNPACKED) {
      byRows = true;
      step = DOZEN;
      return (int) Layout.ceil(m, step);
    }
    int length = byRows ? m : n;
    long each = (long) (byRows ? n : m) * k;
    long unpacked = UNPACKED / each / STEP * STEP;
    if (unpacked >= 2 * STEP) {
      // Parts that go evenly into two threads and into four; a transposed b is fastest by vectors.
      boolean vectors = transposeB && !byRows;
      int even = vectors ? 8 : 4;
      long parts = Layout.ceil(Layout.ceil(length, unpacked), even) * even;
      long least = Layout.ceil(vectors ? LEAST_VECTORS : LEAST_WORK, each);
      long wanted = Math.max(least, Layout.ceil(length, parts));
      step = multiple(wanted, vectors ? VECTOR : STEP);
    } else {
      long parts = Math.min(MOST_PACKED, Math.max(1, length * each / PACKED));
      step = multiple(Math.max(LEAST_PACKED, Layout.ceil(length, parts)), STEP);
    }
    return (int) Layout.ceil(length, step);
  }

  private static int multiple(long v, int of) {
    return (int) (Layout.ceil(v, of) * of);
  }

  @Override
  void run(int item, Scratch s) {
    int from = item * step;
    long width = wide ? 8 : 4;
    int lda = transposeA ? m : k;
    int ldb = transposeB ? k : n;
    int rows = byRows ? Math.min(step, m - from) : m;
    int columns = byRows ? n : Math.min(step, n - from);
    long ai = byRows ? a + (transposeA ? from : (long) from * lda) * width : a;
    long bj = byRows ? b : b + (transposeB ? (long) from * ldb : from) * width;
    long ij = c + (byRows ? (long) from * n : from) * width;
    OpenBlas.Call blas = s.blas();
    if (wide) {
      blas.doubles(transposeA, transposeB, rows, columns, k, ai, lda, bj, ldb, add, ij, n);
    } else {
      blas.floats(transposeA, transposeB, rows, columns, k, ai, lda, bj, ldb, add, ij, n);
    }
  }
}
