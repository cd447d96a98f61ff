package org.fusednorm.cuda;

import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Map;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUfunction;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/**
 * What the verbs need to launch kernels: the entries of the image, the device's properties, memory
 * for intermediate results and for complaints. Belongs to one engine and its stream; everything
 * here is called within {@link CudaContext#enter} and {@link CudaContext#leave}, as every verb of
 * {@link CudaNorm} and {@link CudaMath} is.
 */
final class Launches implements AutoCloseable {
  /** Arguments of one launch at most. */
  static final int ARGUMENTS = 62;

  /** 64-bit words of {@link #complaint()}. */
  static final int COMPLAINT_WORDS = 4;

  private static final int BLOCK_BYTES = 8 * (ARGUMENTS + 2);
  private static final int FIRST_ARGUMENT = 8;

  private final int architecture;
  private final int multiprocessors;
  private final int sharedMemory;
  private final CUmodule module = new CUmodule();
  private final Map<String, Kernel> kernels = new HashMap<>();

  /**
   * The parameters of a launch as the driver wants them, an array with the address of the one
   * struct, and that struct behind it. The driver copies both, so one block serves all launches.
   */
  private final Pointer block = new Pointer();

  private ByteBuffer arguments;
  private int cursor = FIRST_ARGUMENT;
  private CUstream stream;
  private final CUdeviceptr complaint = new CUdeviceptr();
  private final CUdeviceptr workspace = new CUdeviceptr();
  private long workspaceBytes;

  Launches(CudaContext context, CudaImage image, CUstream stream) {
    this.stream = stream;
    architecture =
        10 * context.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            + context.attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    multiprocessors = context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    sharedMemory = context.attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    Cuda.check(
        JCudaDriver.cuModuleLoadDataEx(
            module, Pointer.toBuffer(image.bytes()), 0, new int[0], new Pointer()),
        "cuModuleLoadDataEx(" + CudaImage.RESOURCE + ")");
    for (String entry : CudaKernels.ENTRIES) {
      CUfunction f = new CUfunction();
      int result = JCudaDriver.cuModuleGetFunction(f, module, entry);
      if (result == CUresult.CUDA_SUCCESS) {
        kernels.put(entry, new Kernel(this, entry, f));
      } else if (result != CUresult.CUDA_ERROR_NOT_FOUND) {
        throw Cuda.failure(result, "cuModuleGetFunction(" + entry + ")");
      }
    }
    Cuda.check(JCudaDriver.cuMemAllocHost(block, BLOCK_BYTES), "cuMemAllocHost");
    arguments = block.getByteBuffer(0, BLOCK_BYTES).order(ByteOrder.nativeOrder());
    arguments.putLong(0, Handles.get(block) + FIRST_ARGUMENT);
    Cuda.check(JCudaDriver.cuMemAlloc(complaint, 8 * COMPLAINT_WORDS), "cuMemAlloc");
    Cuda.check(
        JCudaDriver.cuMemsetD8Async(complaint, (byte) 0, 8 * COMPLAINT_WORDS, stream),
        "cuMemsetD8Async");
  }

  /** Compute capability without its point: 90 for 9.0. */
  int architecture() {
    return architecture;
  }

  /** Number of multiprocessors. */
  int multiprocessors() {
    return multiprocessors;
  }

  /** Most bytes of shared memory that a block can have, static and dynamic together. */
  int sharedMemory() {
    return sharedMemory;
  }

  /** A kernel of {@link CudaKernels#ENTRIES}; null where the image has none for this device. */
  Kernel kernel(String entry) {
    return kernels.get(entry);
  }

  /** The stream that launches go to now; another one while a recording is captured. */
  CUstream stream() {
    return stream;
  }

  /**
   * Device memory for intermediate results, aligned to 256 bytes. Zero when it is new; whoever
   * writes to it leaves zeros where others expect them. The same memory for every verb, so it holds
   * nothing beyond one of them; the address may change from verb to verb, but not within a verb
   * that asks once for all it needs.
   */
  long workspace(long bytes) {
    if (bytes > workspaceBytes) {
      Cuda.check(JCudaDriver.cuMemFree(workspace), "cuMemFree");
      workspaceBytes = 0;
      Handles.set(workspace, 0);
      long wanted = (bytes + (1 << 16) - 1) >>> 16 << 16;
      Cuda.check(JCudaDriver.cuMemAlloc(workspace, wanted), "cuMemAlloc(" + wanted + " bytes)");
      workspaceBytes = wanted;
      Cuda.check(
          JCudaDriver.cuMemsetD8Async(workspace, (byte) 0, wanted, stream), "cuMemsetD8Async");
    }
    return Handles.get(workspace);
  }

  /**
   * Device address of {@link #COMPLAINT_WORDS} 64-bit words, zero as long as all is well. A kernel
   * that finds a value in its data that cannot be (a label out of range) changes the first from 0
   * to a code by an atomic exchange, and if it was the one to do so, writes what it found to the
   * others. The next wait throws {@link CudaMath#complaint}.
   */
  long complaint() {
    return Handles.get(complaint);
  }

  // For Kernel.

  void argument(long v) {
    arguments.putLong(cursor, v);
    cursor += 8;
  }

  /** Ends the arguments. */
  Pointer parameters() {
    cursor = FIRST_ARGUMENT;
    return block;
  }

  /** Drops arguments that a verb left behind when it failed. */
  void reset() {
    cursor = FIRST_ARGUMENT;
  }

  @Override
  public void close() {
    Cuda.check(JCudaDriver.cuMemFree(workspace), "cuMemFree");
    Cuda.check(JCudaDriver.cuMemFree(complaint), "cuMemFree");
    Cuda.check(JCudaDriver.cuMemFreeHost(block), "cuMemFreeHost");
    Cuda.check(JCudaDriver.cuModuleUnload(module), "cuModuleUnload");
  }
}
