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

  /** The same where small operands are packed first, without AVX-512. */
  private static final int PACKING_PER_NANO = 30;

  private static final int PLAIN_PER_NANO = 10;

  /** Rows of a part of a wide c from a transposed a, which OpenBLAS multiplies fastest. */
  private static final int DOZEN = 12;

  /** Numbers in the longest vectors. */
  private static final int VECTOR = 16;

  private final Workers workers;
  private final Gemm plain = new Gemm();
  private final Matrices first;
  private final Matrices second;
  private int firstItems;
  private int items;

  Product(Workers workers) {
    this(workers, OpenBlas.packsSmallProducts());
  }

  /** Cut as it suits an OpenBLAS that packs all operands, or one that leaves small ones. */
  Product(Workers workers, boolean packs) {
    this.workers = workers;
    first = new Matrices(packs);
    second = new Matrices(packs);
  }

  static String describe() {
    return OpenBlas.isAvailable()
        ? OpenBlas.version()
        : "plain Java matrix products (" + OpenBlas.missing().cause() + ")";
  }

  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    if (!first.set(a, transposeA, b, transposeB, c, w)) {
      plain.a.set(a);
      plain.b.set(b);
      plain.c.set(c);
      int blocks = plain.set(transposeA, transposeB, first.m, first.n, first.k, w);
      workers.run(plain, blocks, first.multiplications() / PLAIN_PER_NANO);
      return;
    }
    firstItems = first.split(1);
    items = firstItems;
    workers.run(this, items, first.nanos());
  }

  /** Both products at once: each alone is hardly worth a second thread where layers are small. */
  void denseGradients(Tensor dy, Tensor x, Tensor weight, Tensor dweight, Write w, Tensor dx) {
    if (dx == null
        || !first.set(dy, true, x, false, dweight, w)
        || !second.set(dy, false, weight, false, dx, Write.SET)) {
      matmul(dy, true, x, false, dweight, w);
      if (dx != null) {
        matmul(dy, false, weight, false, dx, Write.SET);
      }
      return;
    }
    firstItems = first.split(2);
    items = firstItems + second.split(2);
    workers.run(this, items, first.nanos() + second.nanos());
  }

  /** Those of two products alternate, so that each thread has its share of both. */
  @Override
  void run(int item, Scratch s) {
    int ofFirst = (int) ((long) item * firstItems / items);
    if ((item + 1L) * firstItems / items > ofFirst) {
      first.multiply(ofFirst, s.blas());
    } else {
      second.multiply(item - ofFirst, s.blas());
    }
  }

  private static int multiple(long v, int of) {
    return (int) (Layout.ceil(v, of) * of);
  }

  /** One product, c [m, n] = op(a) op(b), cut into parts of some rows or some columns of c. */
  private static final class Matrices {
    private final boolean packs;
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

    Matrices(boolean packs) {
      this.packs = packs;
    }

    /** False where OpenBLAS cannot do it. */
    boolean set(Tensor ta, boolean transA, Tensor tb, boolean transB, Tensor tc, Write w) {
      m = Math.toIntExact(MathCall.rows(tc));
      n = Math.toIntExact(MathCall.columns(tc));
      k = Math.toIntExact(transA ? MathCall.rows(ta) : MathCall.columns(ta));
      transposeA = transA;
      transposeB = transB;
      add = w == Write.ADD;
      wide = tc.dtype() == DType.F64;
      a = ta.storage().address() + ta.byteOffset();
      b = tb.storage().address() + tb.byteOffset();
      c = tc.storage().address() + tc.byteOffset();
      boolean addressed =
          ta.storage().address() != 0 && tb.storage().address() != 0 && tc.storage().address() != 0;
      // BLAS refuses rows of no length.
      return k > 0 && addressed && OpenBlas.isAvailable();
    }

    long multiplications() {
      return (long) m * n * k;
    }

    /** What one thread takes, about. */
    long nanos() {
      int perNano = packs ? PACKING_PER_NANO : PER_NANO;
      return multiplications() / (wide ? perNano / 2 : perNano);
    }

    /** Chooses the parts, as one of so many products at once, and returns how many there are. */
    int split(int together) {
      if (m == 0 || n == 0) {
        return 0;
      }
      if (packs) {
        // Every part packs all of the side that is not cut; by columns that costs the least.
        byRows = m > 2L * n;
        long most = Math.max(2 / together, Math.min(MOST_PACKED, multiplications() / PACKED));
        return cut(Math.min(most, Math.max(1, multiplications() / LEAST_WORK)));
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
        // Parts that go evenly into two threads and into four; a transposed b is fastest by
        // vectors.
        boolean vectors = transposeB && !byRows;
        int even = vectors ? 8 : 4;
        long parts = Layout.ceil(Layout.ceil(length, unpacked), even) * even;
        long least = Layout.ceil(vectors ? LEAST_VECTORS : LEAST_WORK, each);
        long wanted = Math.max(least, Layout.ceil(length, parts));
        step = multiple(wanted, vectors ? VECTOR : STEP);
      } else {
        return cut(Math.min(MOST_PACKED, Math.max(1, length * each / PACKED)));
      }
      return (int) Layout.ceil(length, step);
    }

    /** Into so many parts, or fewer where they would be narrow. */
    private int cut(long parts) {
      int length = byRows ? m : n;
      step = multiple(Math.max(LEAST_PACKED, Layout.ceil(length, parts)), STEP);
      return (int) Layout.ceil(length, step);
    }

    void multiply(int part, OpenBlas.Call blas) {
      int from = part * step;
      long width = wide ? 8 : 4;
      int lda = transposeA ? m : k;
      int ldb = transposeB ? k : n;
      int rows = byRows ? Math.min(step, m - from) : m;
      int columns = byRows ? n : Math.min(step, n - from);
      long ai = byRows ? a + (transposeA ? from : (long) from * lda) * width : a;
      long bj = byRows ? b : b + (transposeB ? (long) from * ldb : from) * width;
      long ij = c + (byRows ? (long) from * n : from) * width;
      if (wide) {
        blas.doubles(transposeA, transposeB, rows, columns, k, ai, lda, bj, ldb, add, ij, n);
      } else {
        blas.floats(transposeA, transposeB, rows, columns, k, ai, lda, bj, ldb, add, ij, n);
      }
    }
  }
}
