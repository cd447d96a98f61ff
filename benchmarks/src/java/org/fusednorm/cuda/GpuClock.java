package org.fusednorm.cuda;

import java.util.Arrays;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.Tensor;

/** A backend on a stream of one's own, and events of the device on it. */
final class GpuClock implements AutoCloseable {
  private static final int WARM_UP = 3;

  private final Releases releases = new Releases();
  private final CudaContext context;
  private final CUstream stream = new CUstream();
  private final CUevent start = new CUevent();
  private final CUevent end = new CUevent();
  private final Backend backend;

  GpuClock(CudaDevice gpu) {
    context = new CudaContext(gpu.ordinal());
    context.enter();
    Cuda.check(
        JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING),
        "cuStreamCreate");
    releases.add("cuStreamDestroy", () -> JCudaDriver.cuStreamDestroy(stream));
    for (CUevent e : new CUevent[] {start, end}) {
      Cuda.check(JCudaDriver.cuEventCreate(e, 0), "cuEventCreate");
      releases.add("cuEventDestroy", () -> JCudaDriver.cuEventDestroy(e));
    }
    backend = Backends.onStream("cuda:0", Handles.get(stream));
    releases.add(backend::close);
  }

  Backend backend() {
    return backend;
  }

  /** Seconds of the device for one run of what is queued, the median of so many. */
  double median(int rounds, Runnable queue) {
    for (int i = 0; i < WARM_UP; i++) {
      queue.run();
    }
    double[] seconds = new double[rounds];
    for (int i = 0; i < rounds; i++) {
      Cuda.check(JCudaDriver.cuEventRecord(start, stream), "cuEventRecord");
      queue.run();
      Cuda.check(JCudaDriver.cuEventRecord(end, stream), "cuEventRecord");
      Cuda.check(JCudaDriver.cuEventSynchronize(end), "cuEventSynchronize");
      float[] ms = new float[1];
      Cuda.check(JCudaDriver.cuEventElapsedTime(ms, start, end), "cuEventElapsedTime");
      seconds[i] = 1e-3 * ms[0];
    }
    Arrays.sort(seconds);
    return (seconds[(rounds - 1) / 2] + seconds[rounds / 2]) / 2;
  }

  /** Every bit one, which is NaN in all floating types. */
  void poison(Tensor t) {
    long bytes = t.shape().bytes(t.dtype());
    Cuda.check(
        JCudaDriver.cuMemsetD8Async(
            Handles.set(new CUdeviceptr(), t.address()), (byte) 0xff, bytes, stream),
        "cuMemsetD8Async");
  }

  /** Free bytes of the device's memory. */
  long free() {
    long[] left = new long[1];
    Cuda.check(JCudaDriver.cuMemGetInfo(left, new long[1]), "cuMemGetInfo");
    return left[0];
  }

  @Override
  public void close() {
    releases.run();
    context.leave();
    context.release();
  }
}
