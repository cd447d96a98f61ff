package org.fusednorm.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import jcuda.Pointer;
import jcuda.cudaDataType;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import jcuda.jcublas.JCublas2;
import jcuda.jcublas.cublasComputeType;
import jcuda.jcublas.cublasGemmAlgo;
import jcuda.jcublas.cublasHandle;
import jcuda.jcublas.cublasMath;
import jcuda.jcublas.cublasOperation;
import jcuda.jcublas.cublasStatus;
import jcuda.runtime.cudaStream_t;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.host.Settings;

/**
 * Matrix products of cuBLAS on the engine's stream; under the rules of {@link CudaMath}. F32 is
 * multiplied in F32, or with {@code -Dfusednorm.cuda.tf32=on} in TF32, which keeps 10 of the 23
 * bits of each factor's fraction; 16-bit types are summed in F32 throughout.
 *
 * <p>Its workspace is ours and the same from the first product on, so that a capture allocates
 * nothing and the same product gives the same bits.
 */
final class CudaBlas {
  private static final String TF32 = "fusednorm.cuda.tf32";

  /** What cuBLAS's documentation recommends: for Hopper and later, and before. */
  private static final long LARGE_WORKSPACE = 32 << 20;

  private static final long WORKSPACE = 4 << 20;
  private static final int HOPPER = 90;
  private static final int TRIAL_BYTES = 256;

  private final Launches launches;
  private final CudaMemory memory;
  private final boolean tf32 = tf32();
  private final cublasHandle handle = new cublasHandle();
  private final CudaStorage workspace;
  private final int version;
  private CUstream bound;

  // Factors of a product and of what it is added to, in F32 and F64.
  private final Pointer one = Pointer.toBuffer(number(Float.floatToRawIntBits(1)));
  private final Pointer zero = Pointer.toBuffer(number(0));
  private final Pointer oneInF64 = Pointer.toBuffer(number(Double.doubleToRawLongBits(1)));

  // Addresses of the matrices.
  private final Pointer left = new Pointer();
  private final Pointer right = new Pointer();
  private final Pointer product = new Pointer();
  private final Pointer scratch = new Pointer();

  private static ByteBuffer number(long bits) {
    return ByteBuffer.allocateDirect(Long.BYTES).order(ByteOrder.nativeOrder()).putLong(0, bits);
  }

  /** Whether products of F32 may be computed in TF32. */
  static boolean tf32() {
    String given = Settings.get(TF32);
    if (given == null || given.equals("off")) {
      return false;
    }
    if (given.equals("on")) {
      return true;
    }
    throw new IllegalArgumentException("-D" + TF32 + "=" + given + " is neither on nor off");
  }

  /**
   * Makes a handle and multiplies once, waiting for the result; not while a stream is captured.
   *
   * @throws BackendException naming the call that failed
   */
  CudaBlas(Launches launches, CudaMemory memory) {
    this.launches = launches;
    this.memory = memory;
    check(JCublas2.cublasCreate(handle), "cublasCreate");
    CudaStorage taken = null;
    try {
      int[] v = new int[1];
      check(JCublas2.cublasGetVersion(handle, v), "cublasGetVersion");
      version = v[0];
      check(
          JCublas2.cublasSetMathMode(
              handle, cublasMath.CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION),
          "cublasSetMathMode");
      taken = memory.allocate(launches.architecture() >= HOPPER ? LARGE_WORKSPACE : WORKSPACE);
      workspace = taken;
      multiplyOnce();
    } catch (RuntimeException e) {
      JCublas2.cublasDestroy(handle);
      if (taken != null) {
        memory.free(taken);
      }
      throw e;
    }
  }

  private static void check(int status, String call) {
    if (status != cublasStatus.CUBLAS_STATUS_SUCCESS) {
      throw failure(status, call);
    }
  }

  private static BackendException failure(int status, String call) {
    return new BackendException(call + ": " + cublasStatus.stringFor(status) + " (" + status + ")");
  }

  /** 1.5 times 2, so that what does not work is found out here and not in a training. */
  private void multiplyOnce() {
    long at = launches.workspace(3 * TRIAL_BYTES);
    CUdeviceptr pointer = new CUdeviceptr();
    set(pointer, at, 1.5f);
    set(pointer, at + TRIAL_BYTES, 2);
    set(pointer, at + 2 * TRIAL_BYTES, 0);
    if (!multiply(
        DType.F32, at, false, at + TRIAL_BYTES, false, at + 2 * TRIAL_BYTES, 1, 1, 1, false)) {
      throw new BackendException("cublasGemmEx: products of F32 are not supported");
    }
    ByteBuffer result = ByteBuffer.allocateDirect(Float.BYTES).order(ByteOrder.nativeOrder());
    Handles.set(pointer, at + 2 * TRIAL_BYTES);
    Cuda.check(
        JCudaDriver.cuMemcpyDtoHAsync(
            Pointer.toBuffer(result), pointer, Float.BYTES, launches.stream()),
        "cuMemcpyDtoHAsync");
    Cuda.check(JCudaDriver.cuStreamSynchronize(launches.stream()), "cuStreamSynchronize");
    if (result.getFloat(0) != 3) {
      throw new BackendException("cublasGemmEx: 1.5 times 2 is " + result.getFloat(0));
    }
  }

  private void set(CUdeviceptr pointer, long address, float v) {
    Cuda.check(
        JCudaDriver.cuMemsetD32Async(
            Handles.set(pointer, address), Float.floatToRawIntBits(v), 1, launches.stream()),
        "cuMemsetD32Async");
  }

  /** For example {@code cuBLAS 12.6.4}. */
  String describe() {
    String text = version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
    return "cuBLAS " + text + (tf32 ? " in TF32" : "");
  }

  /** Setting the stream takes the workspace away, so both go together. */
  private void bind(CUstream stream) {
    if (stream != bound) {
      bound = null;
      check(JCublas2.cublasSetStream(handle, new cudaStream_t(stream)), "cublasSetStream");
      check(
          JCublas2.cublasSetWorkspace(
              handle, Handles.set(scratch, workspace.address()), workspace.bytes()),
          "cublasSetWorkspace");
      bound = stream;
    }
  }

  /**
   * c = op(a) op(b), or added to c; row-major without gaps, m rows and n columns of c, k at least
   * 1.
   *
   * @return false, with nothing done, where cuBLAS has no product of this type on this device
   */
  boolean multiply(
      DType type,
      long a,
      boolean transposeA,
      long b,
      boolean transposeB,
      long c,
      int m,
      int n,
      int k,
      boolean add) {
    bind(launches.stream());
    int stored = stored(type);
    boolean wide = type == DType.F64;
    Pointer factor = wide ? oneInF64 : one;
    // What is row-major to us is column-major and transposed to cuBLAS: c' = op(b)' op(a)'.
    int status =
        JCublas2.cublasGemmEx_new(
            handle,
            operation(transposeB),
            operation(transposeA),
            n,
            m,
            k,
            factor,
            Handles.set(left, b),
            stored,
            transposeB ? k : n,
            Handles.set(right, a),
            stored,
            transposeA ? m : k,
            add ? factor : zero,
            Handles.set(product, c),
            stored,
            n,
            compute(type),
            cublasGemmAlgo.CUBLAS_GEMM_DEFAULT);
    if (status == cublasStatus.CUBLAS_STATUS_NOT_SUPPORTED
        || status == cublasStatus.CUBLAS_STATUS_ARCH_MISMATCH) {
      return false;
    }
    if (status != cublasStatus.CUBLAS_STATUS_SUCCESS) {
      throw failure(status, "cublasGemmEx(" + type + ", " + m + " x " + k + " x " + n + ")");
    }
    launches.launched("cublasGemmEx");
    return true;
  }

  private static int operation(boolean transposed) {
    return transposed ? cublasOperation.CUBLAS_OP_T : cublasOperation.CUBLAS_OP_N;
  }

  private static int stored(DType type) {
    return switch (type) {
      case F32 -> cudaDataType.CUDA_R_32F;
      case F64 -> cudaDataType.CUDA_R_64F;
      case F16 -> cudaDataType.CUDA_R_16F;
      case BF16 -> cudaDataType.CUDA_R_16BF;
      default -> throw new AssertionError(type);
    };
  }

  private int compute(DType type) {
    if (type == DType.F64) {
      return cublasComputeType.CUBLAS_COMPUTE_64F;
    }
    return tf32 && type == DType.F32
        ? cublasComputeType.CUBLAS_COMPUTE_32F_FAST_TF32
        : cublasComputeType.CUBLAS_COMPUTE_32F;
  }

  /** Waits for the device. */
  void close() {
    try {
      check(JCublas2.cublasDestroy(handle), "cublasDestroy");
    } finally {
      memory.free(workspace);
    }
  }
}
