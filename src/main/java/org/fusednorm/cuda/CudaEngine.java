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
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.Engine;
import org.fusednorm.Moments;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Storage;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * Every verb on one GPU and one stream. Work is queued in the order of the calls; {@link #download}
 * and {@link #synchronize} wait.
 */
final class CudaEngine implements Engine {
  private final Device device;
  private final CudaDevice gpu;
  private final String driverVersion;
  private final Releases releases;
  private final CudaContext context;
  private final CUstream stream;
  private final CudaMemory memory;
  private final Launches launches;
  private final CudaCopies copies;
  private final CudaNorm norm;
  private final CudaMath math;
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
      ByteBuffer image,
      CUstream joined,
      CudaContext context,
      Releases releases) {
    this.device = device;
    this.gpu = gpu;
    this.driverVersion = driverVersion;
    this.context = context;
    this.releases = releases;
    stream = joined != null ? joined : newStream();
    memory = new CudaMemory(stream, releases);
    launches = new Launches(context, memory, image, stream, releases);
    copies = new CudaCopies(context, launches, stream, releases);
    norm = new CudaNorm(launches);
    math = new CudaMath(launches, memory);
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
        return new CudaEngine(device, gpu, driverVersion, image, joined, context, releases);
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

  private CUstream newStream() {
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
  public boolean computes(DType t) {
    return math.computes(t);
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

  /** On a thread of the driver, which must not see an exception: that goes to the next wait. */
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
        captures = newStream();
      }
      return new CudaGraph(context, launches, stream, captures, work, graphs);
    } finally {
      context.leave();
    }
  }

  @Override
  public long gateBytes(Shape s) {
    return norm.gateBytes(s);
  }

  @Override
  public void moments(Tensor x, Moments out) {
    enter();
    try {
      norm.moments(x, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    enter();
    try {
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    enter();
    try {
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    enter();
    try {
      norm.coefficients(m, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    enter();
    try {
      norm.coefficients(r, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    enter();
    try {
      norm.normalize(x, s, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    enter();
    try {
      norm.gradientSums(dy, x, s, f, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    enter();
    try {
      norm.inputGradient(dy, x, s, total, f, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    enter();
    try {
      norm.gradients(s, gradients, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void forward(
      Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    enter();
    try {
      norm.forward(x, a, eps, f, residual, out, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    enter();
    try {
      norm.backward(dy, x, s, f, out, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    enter();
    try {
      norm.infer(x, r, a, eps, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    enter();
    try {
      norm.commit(s, r);
    } finally {
      context.leave();
    }
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    enter();
    try {
      math.matmul(a, transposeA, b, transposeB, c, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    enter();
    try {
      math.addBias(x, bias, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    enter();
    try {
      math.biasGradient(dy, dbias, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    enter();
    try {
      math.activate(f, x, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    enter();
    try {
      math.activationGradient(f, y, dy, dx);
    } finally {
      context.leave();
    }
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    enter();
    try {
      math.softmaxCrossEntropy(logits, labels, loss, dlogits);
    } finally {
      context.leave();
    }
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    enter();
    try {
      math.correct(logits, labels, count, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    enter();
    try {
      math.sgd(value, gradient, velocity, learningRate, momentum, weightDecay);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    enter();
    try {
      math.gather(table, rows, scale, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    enter();
    try {
      math.squaredNorm(x, out, w);
    } finally {
      context.leave();
    }
  }

  /** For a verb. */
  private void enter() {
    context.enter();
    launches.reset();
  }

  @Override
  public void close() {
    releases.add(() -> List.copyOf(graphs).forEach(CudaGraph::close));
    releases.add("cuStreamSynchronize", () -> JCudaDriver.cuStreamSynchronize(stream));
    release(context, releases);
  }
}
