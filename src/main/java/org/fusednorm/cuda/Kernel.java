package org.fusednorm.cuda;

import static jcuda.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
import static jcuda.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;

import jcuda.Pointer;
import jcuda.driver.CUfunction;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;

/**
 * One entry of the image. Its single parameter is a struct of 8-byte fields, written field by field
 * and then launched: {@code kernel.arg(x).arg(y).arg(n).launch(blocks, 256, 0)}.
 */
final class Kernel {
  /** Dynamic shared memory that a block may have without being asked for. */
  private static final int USUAL_SHARED_BYTES = 48 << 10;

  /** Blocks of a cluster that every GPU with clusters allows. */
  private static final int PORTABLE_CLUSTER = 8;

  private final Launches launches;
  private final String entry;
  private final CUfunction function;
  private int sharedLimit = USUAL_SHARED_BYTES;
  private boolean anyCluster;

  /** Fields of the last launch; the driver takes as many as the struct has. */
  private int fields;

  /** Threads of a block of the last launch. */
  private int threads;

  Kernel(Launches launches, String entry, CUfunction function) {
    this.launches = launches;
    this.entry = entry;
    this.function = function;
  }

  /** The next field of the struct: an address or an integer. */
  Kernel arg(long v) {
    launches.argument(v);
    return this;
  }

  /** The next field of the struct. */
  Kernel arg(double v) {
    launches.argument(Double.doubleToRawLongBits(v));
    return this;
  }

  /** The next two fields of the struct: by which blocks of a team meet. */
  Kernel team() {
    return arg(launches.tickets()).arg(launches.told());
  }

  /** Launches it on the stream with the fields so far, which are gone then. */
  void launch(long grid, int block, int sharedBytes) {
    launch(grid, 1, block, sharedBytes);
  }

  /** The same with a grid of two dimensions. */
  void launch(long gridX, int gridY, int block, int sharedBytes) {
    if (sharedBytes > sharedLimit) {
      raiseSharedLimit(sharedBytes);
    }
    check(queue(gridX, gridY, block, sharedBytes), gridX, gridY, block, sharedBytes);
  }

  /**
   * The same for an entry whose blocks form clusters.
   *
   * @return false if the GPU cannot have such clusters: nothing was launched, the fields are gone
   */
  boolean launchCluster(long grid, SinglePass.Kind kind, int sharedBytes) {
    if (kind.cluster() > PORTABLE_CLUSTER && !anyCluster && !allowAnyCluster()) {
      launches.reset();
      return false;
    }
    if (sharedBytes > sharedLimit) {
      raiseSharedLimit(sharedBytes);
    }
    int result = queue(grid, 1, kind.threads(), sharedBytes);
    if (result == CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE) {
      return false;
    }
    check(result, grid, 1, kind.threads(), sharedBytes);
    return true;
  }

  private boolean allowAnyCluster() {
    int attribute = CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
    int result = JCudaDriver.cuFuncSetAttribute(function, attribute, 1);
    if (result != CUresult.CUDA_SUCCESS && result != CUresult.CUDA_ERROR_INVALID_VALUE) {
      throw Cuda.failure(result, "cuFuncSetAttribute(" + entry + ", any size of clusters)");
    }
    anyCluster = result == CUresult.CUDA_SUCCESS;
    return anyCluster;
  }

  private int queue(long gridX, int gridY, int block, int sharedBytes) {
    fields = launches.arguments();
    threads = block;
    int x = (int) gridX;
    Pointer parameters = launches.parameters();
    return x != gridX
        ? CUresult.CUDA_ERROR_INVALID_VALUE
        : JCudaDriver.cuLaunchKernel(
            function, x, gridY, 1, block, 1, 1, sharedBytes, launches.stream(), parameters, null);
  }

  private void check(int result, long gridX, int gridY, int block, int sharedBytes) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw failure(result, gridX, gridY, block, sharedBytes);
    }
    launches.launched(this);
  }

  /** How many 8-byte fields the last launch gave; 0 before the first. */
  int fields() {
    return fields;
  }

  /** How many threads its blocks had. */
  int threads() {
    return threads;
  }

  private void raiseSharedLimit(int bytes) {
    int attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    int result = JCudaDriver.cuFuncSetAttribute(function, attribute, bytes);
    if (result != CUresult.CUDA_SUCCESS) {
      throw Cuda.failure(
          result, "cuFuncSetAttribute(" + entry + ", " + bytes + " bytes of shared memory)");
    }
    sharedLimit = bytes;
  }

  /** How many blocks of this size a multiprocessor holds at a time. Not for the hot path. */
  int residentBlocks(int block, int sharedBytes) {
    if (sharedBytes > sharedLimit) {
      raiseSharedLimit(sharedBytes);
    }
    int[] blocks = new int[1];
    int result =
        JCudaDriver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            blocks, function, block, sharedBytes);
    if (result != CUresult.CUDA_SUCCESS) {
      throw Cuda.failure(
          result,
          "cuOccupancyMaxActiveBlocksPerMultiprocessor("
              + entry
              + ", "
              + block
              + " threads, "
              + sharedBytes
              + " bytes of shared memory)");
    }
    return blocks[0];
  }

  private BackendException failure(int result, long x, int y, int block, int sharedBytes) {
    String grid = y == 1 ? Long.toString(x) : x + " x " + y;
    return Cuda.failure(
        result,
        "cuLaunchKernel("
            + entry
            + ", "
            + grid
            + " blocks of "
            + block
            + " threads, "
            + sharedBytes
            + " bytes of shared memory)");
  }

  /** Name of the entry. */
  @Override
  public String toString() {
    return entry;
  }
}
