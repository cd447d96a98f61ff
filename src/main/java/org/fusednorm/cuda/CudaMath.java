package org.fusednorm.cuda;

import java.util.List;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.Unavailable;

/**
 * The verbs of {@link org.fusednorm.MathOps} on a GPU, under the rules of {@link CudaNorm}: called
 * by {@link CudaEngine} alone, one at a time and with the context bound, with arguments that were
 * validated; they only queue work on {@link Launches#stream()}.
 *
 * <p>How many blocks a sum is split into follows from the shape alone, so that a result has the
 * same bits on every GPU of an architecture.
 */
final class CudaMath {
  /** Every entry that is called from here. */
  static final List<String> ENTRIES =
      List.of(
          "add_bias",
          "bias_gradient",
          "activate",
          "activation_gradient",
          "softmax_cross_entropy",
          "correct",
          "sgd",
          "gather",
          "squared_norm",
          "matmul_64_f32",
          "matmul_32_f32",
          "matmul_32_f64");

  // As in cuda/math.cuh and cuda/math_*.cu.
  static final int THREADS = 256;
  private static final int WARP = 32;
  private static final int BIAS_TILE = 32;
  private static final int LARGE_TILE = 64;
  private static final int SMALL_TILE = 32;
  private static final int COPIED = -1;
  private static final int BAD_LABEL = 1;

  /** Elements of a thread that are worth a launch of one more block. */
  static final int ELEMENTS = 4;

  /** Blocks on a multiprocessor at a time. */
  static final int RESIDENT = 8;

  /** Most blocks whose sums are merged. */
  private static final int PARTS = 512;

  /** Least rows of a slice that is summed apart from the others. */
  private static final int SLICE = 64;

  final CudaDescent descent;
  private final Launches launches;
  private final CudaMemory memory;

  /** From the first product on, unless it is missing. */
  private CudaBlas blas;

  private Unavailable blasMissing;
  private final Kernel addBias;
  private final Kernel biasGradient;
  private final Kernel activate;
  private final Kernel activationGradient;
  private final Kernel softmaxCrossEntropy;
  private final Kernel correct;
  private final Kernel gather;
  private final Kernel squaredNorm;
  private final Kernel matmulLarge;
  private final Kernel matmulSmall;
  private final Kernel matmulDouble;

  /**
   * Finds the kernels.
   *
   * @throws IllegalArgumentException if a setting of cuBLAS is malformed
   */
  CudaMath(Launches launches, CudaMemory memory) {
    this.launches = launches;
    this.memory = memory;
    CudaBlas.tf32();
    addBias = launches.kernel("add_bias");
    biasGradient = launches.kernel("bias_gradient");
    activate = launches.kernel("activate");
    activationGradient = launches.kernel("activation_gradient");
    softmaxCrossEntropy = launches.kernel("softmax_cross_entropy");
    correct = launches.kernel("correct");
    descent = new CudaDescent(launches);
    gather = launches.kernel("gather");
    squaredNorm = launches.kernel("squared_norm");
    matmulLarge = launches.kernel("matmul_64_f32");
    matmulSmall = launches.kernel("matmul_32_f32");
    matmulDouble = launches.kernel("matmul_32_f64");
  }

  /** Whether the verbs take tensors of type {@code t}. */
  boolean computes(DType t) {
    return t.isFloating();
  }

  /**
   * The exception that a complaint of a kernel becomes at the next wait: see {@link
   * Launches#complaint()}.
   *
   * @param words what the kernel wrote: a code that is not 0, where, the value, and the end of the
   *     range that it should have been in
   */
  RuntimeException complaint(long[] words) {
    String where = words[0] == BAD_LABEL ? "label %d in row %d" : "row %d at position %d";
    return new IllegalArgumentException(
        String.format(where, words[2], words[1]) + " is not in 0.." + (words[3] - 1));
  }

  /** Frees what the verbs themselves hold, with the context bound. */
  void close() {
    if (blas != null) {
      CudaBlas closing = blas;
      blas = null;
      closing.close();
    }
  }

  /**
   * What multiplies matrices, as far as it is known before the first product; one line has room.
   */
  String describeProducts() {
    if (blas != null) {
      return blas.describe();
    }
    boolean missing = blasMissing != null || !CublasLibrary.find().isAvailable();
    return missing ? "plain matrix products" : "cuBLAS";
  }

  /** cuBLAS, made at the first product because many a user needs none; null where it is missing. */
  private CudaBlas blas() {
    if (blas == null && blasMissing == null && !launches.capturing()) {
      CublasLibrary library = CublasLibrary.find();
      blasMissing = library.missing();
      if (blasMissing == null) {
        try {
          blas = new CudaBlas(launches, memory);
        } catch (BackendException e) {
          blasMissing =
              new Unavailable(
                  library.describe() + " does not work here: " + e.getMessage(),
                  "use a cuBLAS that this GPU and this driver are made for",
                  e);
          System.getLogger(CudaMath.class.getName())
              .log(
                  System.Logger.Level.WARNING,
                  "fusednorm multiplies matrices with plain kernels: " + blasMissing.cause());
        }
      }
    }
    return blas;
  }

  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    long m = rows(c);
    long n = columns(c);
    if (m == 0 || n == 0) {
      return;
    }
    long k = transposeA ? rows(a) : columns(a);
    // BLAS refuses rows of no length.
    boolean done =
        k > 0
            && blas() != null
            && blas.multiply(
                c.dtype(),
                address(a),
                transposeA,
                address(b),
                transposeB,
                address(c),
                (int) m,
                (int) n,
                (int) k,
                w == Write.ADD);
    if (!done) {
      multiply(a, transposeA, b, transposeB, c, w, k);
    }
  }

  private void multiply(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w, long k) {
    long m = rows(c);
    long n = columns(c);
    long large = tiles(m, LARGE_TILE) * tiles(n, LARGE_TILE);
    boolean fills = c.dtype() != DType.F64 && large >= launches.multiprocessors();
    Kernel kernel = c.dtype() == DType.F64 ? matmulDouble : fills ? matmulLarge : matmulSmall;
    kernel.arg(type(c)).arg(address(a)).arg(address(b)).arg(address(c)).arg(m).arg(n).arg(k);
    kernel.arg(transposeA ? 1 : k).arg(transposeA ? m : 1);
    kernel.arg(transposeB ? 1 : n).arg(transposeB ? k : 1).arg(add(w));
    kernel.launch(fills ? large : tiles(m, SMALL_TILE) * tiles(n, SMALL_TILE), THREADS, 0);
  }

  void addBias(Tensor x, Tensor bias, Tensor y) {
    long n = x.shape().elements();
    addBias.arg(type(x)).arg(address(x)).arg(address(bias)).arg(address(y)).arg(n);
    launchElements(addBias.arg(columns(x)), n);
  }

  void biasGradient(Tensor dy, Tensor dbias, Write w) {
    long rows = rows(dy);
    long columns = columns(dy);
    long tiles = tiles(columns, BIAS_TILE);
    if (tiles == 0) {
      return;
    }
    long slices = Math.max(1, Math.min(PARTS / tiles, rows / SLICE));
    biasGradient.arg(type(dy)).arg(address(dy)).arg(address(dbias)).arg(rows).arg(columns);
    biasGradient.arg(slices).arg(add(w));
    biasGradient.arg(launches.workspace(slices == 1 ? 0 : slices * columns * Double.BYTES));
    biasGradient.arg(launches.tickets()).launch(tiles * slices, THREADS, 0);
  }

  void activate(Nonlinearity f, Tensor x, Tensor y) {
    long n = x.shape().elements();
    activate.arg(type(x)).arg(f.ordinal()).arg(address(x)).arg(address(y));
    launchElements(activate.arg(n), n);
  }

  void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    long n = y.shape().elements();
    activationGradient.arg(type(y)).arg(f.ordinal()).arg(address(y)).arg(address(dy));
    launchElements(activationGradient.arg(address(dx)).arg(n), n);
  }

  void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    labeled(softmaxCrossEntropy, logits, labels, loss, dlogits, Write.SET);
  }

  void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    labeled(correct, logits, labels, count, null, w);
  }

  /** Few columns share a warp, many have a block. */
  private void labeled(
      Kernel kernel, Tensor logits, Tensor labels, Tensor out, Tensor dlogits, Write w) {
    long rows = rows(logits);
    long columns = columns(logits);
    long group = WARP;
    if (columns > WARP * WARP) {
      group = THREADS;
    } else if (columns < WARP) {
      group = Long.highestOneBit(Math.max(1, 2 * columns - 1));
    }
    long blocks = Math.max(1, Math.min(PARTS, tiles(rows, THREADS / group)));
    kernel.arg(type(logits)).arg(address(logits)).arg(address(labels)).arg(labels.dtype().bytes());
    kernel.arg(rows).arg(columns).arg(group).arg(launches.workspace(blocks * Double.BYTES));
    kernel.arg(launches.tickets()).arg(launches.complaint()).arg(address(out));
    kernel.arg(address(dlogits)).arg(add(w)).launch(blocks, THREADS, 0);
  }

  void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    boolean copies = table.dtype() == out.dtype();
    long n = out.shape().elements();
    gather.arg(copies ? COPIED : type(out)).arg(address(table)).arg(address(rows));
    gather.arg(address(out)).arg(scale).arg(rows.shape().elements()).arg(rows(table));
    gather.arg(columns(out) * (copies ? out.dtype().bytes() : 1));
    launchElements(gather.arg(launches.complaint()), n);
  }

  void squaredNorm(Tensor x, Tensor out, Write w) {
    long n = x.shape().elements();
    long blocks = Math.max(1, Math.min(PARTS, tiles(n, ELEMENTS * THREADS)));
    squaredNorm.arg(type(x)).arg(address(x)).arg(n);
    squaredNorm.arg(launches.workspace(blocks * Double.BYTES)).arg(launches.tickets());
    squaredNorm.arg(address(out)).arg(add(w)).launch(blocks, THREADS, 0);
  }

  private void launchElements(Kernel kernel, long n) {
    long blocks =
        Math.min(tiles(n, ELEMENTS * THREADS), (long) RESIDENT * launches.multiprocessors());
    if (blocks == 0) {
      launches.reset();
    } else {
      kernel.launch(blocks, THREADS, 0);
    }
  }

  static long tiles(long n, long size) {
    return (n + size - 1) / size;
  }

  private static long add(Write w) {
    return w == Write.ADD ? 1 : 0;
  }

  static long type(Tensor t) {
    return switch (t.dtype()) {
      case F32 -> 0;
      case F16 -> 1;
      case BF16 -> 2;
      case F64 -> 3;
      default -> throw new AssertionError(t);
    };
  }

  static long address(Tensor t) {
    return t == null ? 0 : t.storage().address() + t.byteOffset();
  }

  static long address(Scalar s) {
    return s == null ? 0 : address(s.tensor());
  }

  private static long rows(Tensor t) {
    return t.shape().batch();
  }

  private static long columns(Tensor t) {
    long rows = rows(t);
    return rows == 0 ? t.shape().withBatch(1).elements() : t.shape().elements() / rows;
  }
}
