package org.fusednorm.cuda;

import java.util.concurrent.locks.ReentrantLock;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;

/**
 * The primary context of a device, which other libraries of the process share, and the lock of an
 * engine. A context is current for a thread, and any Java thread may call: so each way into the
 * driver leads through {@link #enter} and {@link #leave}, which give the thread back its own.
 */
final class CudaContext {
  private final CUdevice device = new CUdevice();
  private final CUcontext context = new CUcontext();
  private final CUcontext popped = new CUcontext();
  private final ReentrantLock lock = new ReentrantLock();

  private final int ordinal;

  /** Takes the primary context of a device of the driver, until {@link #release}. */
  CudaContext(int ordinal) {
    this.ordinal = ordinal;
    Cuda.check(JCudaDriver.cuDeviceGet(device, ordinal), "cuDeviceGet(" + ordinal + ")");
    Cuda.check(
        JCudaDriver.cuDevicePrimaryCtxRetain(context, device),
        "cuDevicePrimaryCtxRetain(device " + ordinal + ")");
  }

  /** Takes the lock and makes the context current. Nests. */
  void enter() {
    lock.lock();
    int result = JCudaDriver.cuCtxPushCurrent(context);
    if (result != CUresult.CUDA_SUCCESS) {
      lock.unlock();
      throw Cuda.failure(result, "cuCtxPushCurrent");
    }
  }

  /** Ends what {@link #enter} started. */
  void leave() {
    int result = JCudaDriver.cuCtxPopCurrent(popped);
    lock.unlock();
    Cuda.check(result, "cuCtxPopCurrent");
  }

  /** Gives things back with the context bound. */
  void run(Releases releases) {
    Runnable bound =
        () -> {
          enter();
          try {
            releases.run();
          } finally {
            leave();
          }
        };
    Releases all = new Releases();
    // Once more for the case that the first came to nothing because the context was refused.
    all.add(bound);
    all.add(bound);
    all.run();
  }

  /** The lock alone, for what calls no driver. */
  void lock() {
    lock.lock();
  }

  void unlock() {
    lock.unlock();
  }

  /** The context alone, for waits that may not keep others from queueing work. */
  void bind() {
    Cuda.check(JCudaDriver.cuCtxPushCurrent(context), "cuCtxPushCurrent");
  }

  void unbind() {
    Cuda.check(JCudaDriver.cuCtxPopCurrent(popped), "cuCtxPopCurrent");
  }

  /** The device's number for the driver. */
  int ordinal() {
    return ordinal;
  }

  int attribute(int attribute) {
    int[] value = new int[1];
    Cuda.check(
        JCudaDriver.cuDeviceGetAttribute(value, attribute, device),
        "cuDeviceGetAttribute(" + CUdevice_attribute.stringFor(attribute) + ")");
    return value[0];
  }

  void release() {
    Cuda.check(JCudaDriver.cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
  }
}
