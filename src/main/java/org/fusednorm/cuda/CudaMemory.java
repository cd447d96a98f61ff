package org.fusednorm.cuda;

import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;
import org.fusednorm.host.Settings;

/**
 * Device memory of one engine: blocks of cuMemAlloc that are kept when they are freed, because
 * taking and giving them back costs the driver milliseconds and a wait for the device. All work of
 * an engine is queued on one stream, so a block that is freed may be taken again at once: what its
 * new owner queues comes after what the old one queued.
 *
 * <p>Called under the engine's lock; {@link #allocate} and {@link #empty} with the context bound.
 */
final class CudaMemory {
  private static final String BUDGET = "fusednorm.cuda.memory";

  /** Blocks are multiples of this, large ones of the second. */
  private static final long GRAIN = 512;

  private static final long LARGE_GRAIN = 64 << 10;
  private static final long LARGE = 1 << 20;

  private final long budget;

  /** Addresses of free blocks by size. */
  private final TreeMap<Long, ArrayDeque<Long>> free = new TreeMap<>();

  /** Addresses of all others: a caller that failed may have lost one. */
  private final Set<Long> used = new HashSet<>();

  private final CUstream stream;
  private final CUdeviceptr pointer = new CUdeviceptr();
  private long inUse;
  private long cached;

  CudaMemory(CUstream stream, Releases releases) {
    this.stream = stream;
    budget = budget();
    releases.add(this::close);
  }

  /** Most bytes to take, of the setting; {@link Long#MAX_VALUE} without one. */
  private static long budget() {
    String given = Settings.get(BUDGET);
    if (given == null) {
      return Long.MAX_VALUE;
    }
    String text = given.toLowerCase(Locale.ROOT);
    int unit = "kmg".indexOf(text.charAt(text.length() - 1)) + 1;
    try {
      String digits = unit == 0 ? text : text.substring(0, text.length() - 1);
      long n = Math.multiplyExact(Long.parseLong(digits), 1L << 10 * unit);
      if (n > 0) {
        return n;
      }
    } catch (NumberFormatException | ArithmeticException e) {
      throw malformed(given, e);
    }
    throw malformed(given, null);
  }

  private static IllegalArgumentException malformed(String given, Exception cause) {
    return new IllegalArgumentException(
        "-D"
            + BUDGET
            + "="
            + given
            + " is no number of bytes: give for example 4294967296, 4096m or 4g",
        cause);
  }

  /** Takes memory of undefined content, aligned to 256 bytes. */
  CudaStorage allocate(long bytes) {
    long grain = bytes < LARGE ? GRAIN : LARGE_GRAIN;
    long wanted = Math.max(1, (bytes + grain - 1) / grain) * grain;
    // A somewhat larger block does: up to a quarter is left unused.
    Map.Entry<Long, ArrayDeque<Long>> found = free.ceilingEntry(wanted);
    if (found != null && found.getKey() <= wanted + wanted / 4) {
      long block = found.getKey();
      long address = found.getValue().pop();
      if (found.getValue().isEmpty()) {
        free.remove(block);
      }
      cached -= block;
      return use(address, bytes, block);
    }
    return use(take(wanted), bytes, wanted);
  }

  private CudaStorage use(long address, long bytes, long block) {
    inUse += block;
    used.add(address);
    return new CudaStorage(address, bytes, block);
  }

  private long take(long bytes) {
    if (cached > 0 && !fits(bytes)) {
      empty();
    }
    if (!fits(bytes)) {
      throw new BackendException(
          "allocation of "
              + bytes
              + " bytes: -D"
              + BUDGET
              + " allows "
              + budget
              + " bytes, of which "
              + inUse
              + " are in use");
    }
    int result = JCudaDriver.cuMemAlloc(Handles.set(pointer, 0), bytes);
    if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY && cached > 0) {
      empty();
      result = JCudaDriver.cuMemAlloc(Handles.set(pointer, 0), bytes);
    }
    if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
      throw new BackendException(
          Cuda.failure(result, "cuMemAlloc(" + bytes + " bytes)").getMessage() + state());
    }
    if (result != CUresult.CUDA_SUCCESS) {
      throw Cuda.failure(result, "cuMemAlloc(" + bytes + " bytes)");
    }
    return Handles.get(pointer);
  }

  private boolean fits(long bytes) {
    return bytes <= budget - inUse - cached;
  }

  private String state() {
    long[] left = new long[1];
    long[] total = new long[1];
    int result = JCudaDriver.cuMemGetInfo(left, total);
    return "; this backend uses "
        + inUse
        + " bytes"
        + (result == CUresult.CUDA_SUCCESS
            ? ", of " + total[0] + " bytes of the device " + left[0] + " are free"
            : "");
  }

  /** Gives memory back; it is kept for the next who asks. */
  void free(CudaStorage s) {
    used.remove(s.address());
    inUse -= s.block();
    cached += s.block();
    free.computeIfAbsent(s.block(), size -> new ArrayDeque<>()).push(s.address());
  }

  /** Gives all blocks that are kept to the driver; waits for the device. */
  void empty() {
    Releases blocks = new Releases();
    free.values().forEach(addresses -> addresses.forEach(address -> add(address, blocks)));
    free.clear();
    cached = 0;
    // Whoever freed them may have queued work on them.
    blocks.add("cuStreamSynchronize", () -> JCudaDriver.cuStreamSynchronize(stream));
    blocks.run();
  }

  private void add(long address, Releases blocks) {
    blocks.add("cuMemFree", () -> JCudaDriver.cuMemFree(Handles.set(pointer, address)));
  }

  private void close() {
    Releases blocks = new Releases();
    used.forEach(address -> add(address, blocks));
    used.clear();
    blocks.add(this::empty);
    blocks.run();
  }

  /** Bytes of the blocks that are kept for the next who asks. */
  long cached() {
    return cached;
  }

  /** Bytes taken from the driver. */
  long held() {
    return inUse + cached;
  }
}
