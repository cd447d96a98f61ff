package org.fusednorm.cuda;

import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUhostFn;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.fusednorm.BackendException;
import org.fusednorm.Device;
import org.fusednorm.Storage;

/**
 * Memory, copies, waits and recordings of one GPU and one stream. Work is queued in the order of
 * the calls; {@link #download} and {@link #synchronize} wait.
 */
final class CudaEngine extends CudaVerbs {
  private final Device device;
  private final CudaDevice gpu;
  private final String driverVersion;
  private final Releases releases;
  private final CUstream stream;
  private final CudaMemory memory;
  private final CudaCopies copies;
  private final CUdeviceptr to = new CUdeviceptr();
  private final CUdeviceptr from = new CUdeviceptr();

  /** The stream of captures, from the first on. */
  private CUstream captures;

  /** Those that are open: a caller that failed may have lost one. */
  private final Set<CudaGraph> graphs = new HashSet<>();

  /** The first failure of a host function since the last wait. */
  private final AtomicReference<Throwable> hostFailure = new AtomicReference<>();

  private CudaEngine(
      Device device,
      CudaDevice gpu,
      String driverVersion,
      CUstream stream,
      CudaMemory memory,
      Launches launches,
      Tuner tuner,
      CudaContext context,
      Releases releases) {
    super(context, launches, new CudaNorm(launches, tuner), new CudaMath(launches, memory));
    this.device = device;
    this.gpu = gpu;
    this.driverVersion = driverVersion;
    this.releases = releases;
    this.stream = stream;
    this.memory = memory;
    copies = new CudaCopies(context, launches, stream, releases);
    releases.add(math::close);
  }

  /**
   * Opens a device.
   *
   * @param joined the stream of somebody else that all work goes to; null for one of its own
   */
  static CudaEngine open(
      Device device, CudaDevice gpu, String driverVersion, ByteBuffer image, CUstream joined) {
    CudaContext context = new CudaContext(gpu.ordinal());
    Releases releases = new Releases();
    try {
      context.enter();
      try {
        CUstream stream = joined != null ? joined : newStream(releases);
        CudaMemory memory = new CudaMemory(stream, releases);
        Launches launches = new Launches(context, memory, image, stream, releases);
        Tuner tuner = Tuner.open(launches, memory, gpu, driverVersion, image);
        return new CudaEngine(
            device, gpu, driverVersion, stream, memory, launches, tuner, context, releases);
      } finally {
        context.leave();
      }
    } catch (RuntimeException e) {
      try {
        release(context, releases);
      } catch (RuntimeException again) {
        e.addSuppressed(again);
      }
      throw e;
    }
  }

  private static void release(CudaContext context, Releases releases) {
    Releases all = new Releases();
    all.add(context::release);
    all.add(() -> context.run(releases));
    all.run();
  }

  private static CUstream newStream(Releases releases) {
    CUstream made = new CUstream();
    Cuda.check(
        JCudaDriver.cuStreamCreate(made, CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    releases.add("cuStreamDestroy", () -> JCudaDriver.cuStreamDestroy(made));
    return made;
  }

  @Override
  public Device device() {
    return device;
  }

  @Override
  public String description() {
    return describe(gpu, driverVersion) + ", " + math.describeProducts();
  }

  /** Device and driver, in one line. */
  static String describe(CudaDevice gpu, String driverVersion) {
    return gpu.name() + ", sm_" + gpu.architecture() + ", driver for CUDA " + driverVersion;
  }

  /** The caller's; it only queues work. */
  @Override
  public int threads() {
    return 1;
  }

  @Override
  public Storage allocate(long bytes) {
    context.enter();
    try {
      return memory.allocate(bytes);
    } finally {
      context.leave();
    }
  }

  @Override
  public void free(Storage s) {
    context.lock();
    try {
      memory.free((CudaStorage) s);
    } finally {
      context.unlock();
    }
  }

  @Override
  public long heldBytes() {
    return memory.held();
  }

  @Override
  public long cachedBytes() {
    return memory.cached();
  }

  @Override
  public Storage wrap(ByteBuffer direct, int position, int bytes) {
    throw new BackendException(
        "memory of the host cannot be wrapped on " + device + ": copy it into a tensor");
  }

  @Override
  public Storage wrap(long address, long bytes) {
    return new CudaStorage(address, bytes);
  }

  @Override
  public void upload(ByteBuffer source, int at, Storage target, long offset, int bytes) {
    copies.upload(source, at, target.address() + offset, bytes);
  }

  @Override
  public void download(Storage source, long offset, ByteBuffer target, int at, int bytes) {
    copies.download(source.address() + offset, target, at, bytes);
    settle();
  }

  @Override
  public void copy(Storage source, long fromOffset, Storage target, long toOffset, long bytes) {
    if (bytes == 0) {
      return;
    }
    context.enter();
    try {
      Handles.set(to, target.address() + toOffset);
      Handles.set(from, source.address() + fromOffset);
      Cuda.check(
          JCudaDriver.cuMemcpyDtoDAsync(to, from, bytes, launches.stream()), "cuMemcpyDtoDAsync");
    } finally {
      context.leave();
    }
  }

  @Override
  public void zero(Storage s, long offset, long bytes) {
    if (bytes == 0) {
      return;
    }
    context.enter();
    try {
      Handles.set(to, s.address() + offset);
      Cuda.check(
          JCudaDriver.cuMemsetD8Async(to, (byte) 0, bytes, launches.stream()), "cuMemsetD8Async");
    } finally {
      context.leave();
    }
  }

  @Override
  public void synchronize() {
    context.enter();
    try {
      launches.fetchComplaint();
    } finally {
      context.leave();
    }
    context.bind();
    try {
      launches.waited(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    } finally {
      context.unbind();
    }
    settle();
  }

  /** Throws what came up in the work that was waited for. */
  private void settle() {
    Throwable failure = hostFailure.getAndSet(null);
    if (failure != null) {
      throw new BackendException("a host function failed: " + failure, failure);
    }
    if (launches.hasComplaint()) {
      context.enter();
      try {
        throw math.complaint(launches.takeComplaint());
      } finally {
        context.leave();
      }
    }
  }

  /**
   * On a thread of the driver, which must not see an exception: that goes to the next wait.
   *
   * <p>Each call queues the function anew, and a recording is split here: JCuda 12.6.0 keeps what
   * it calls for one call only. The second replay of a graph that had captured a host function
   * called a reference that the first had deleted, and ended the JVM.
   */
  @Override
  public void host(Runnable r) {
    CUhostFn function =
        nothing -> {
          try {
            r.run();
          } catch (Throwable t) {
            hostFailure.compareAndSet(null, t);
          }
        };
    context.enter();
    try {
      Cuda.check(JCudaDriver.cuLaunchHostFunc(stream, function, null), "cuLaunchHostFunc");
    } finally {
      context.leave();
    }
  }

  @Override
  public Graph capture(List<Runnable> work) {
    context.enter();
    try {
      if (captures == null) {
        captures = newStream(releases);
      }
      return new CudaGraph(context, launches, stream, captures, work, graphs);
    } finally {
      context.leave();
    }
  }

  @Override
  public void close() {
    releases.add(() -> List.copyOf(graphs).forEach(CudaGraph::close));
    releases.add("cuStreamSynchronize", () -> JCudaDriver.cuStreamSynchronize(stream));
    release(context, releases);
  }
}
