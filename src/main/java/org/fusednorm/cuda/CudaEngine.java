package org.fusednorm.cuda;

import java.nio.ByteBuffer;
import java.util.List;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
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
  private final CudaContext context;
  private final CUstream stream = new CUstream();
  private final Launches launches;
  private final CudaNorm norm;
  private final CudaMath math;
  private final CUdeviceptr to = new CUdeviceptr();
  private final CUdeviceptr from = new CUdeviceptr();

  CudaEngine(int index, CudaDevice gpu, String driverVersion, CudaImage image) {
    device = new Device(CudaProvider.NAME, index);
    this.gpu = gpu;
    this.driverVersion = driverVersion;
    context = new CudaContext(gpu.ordinal());
    context.enter();
    try {
      Cuda.check(
          JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING),
          "cuStreamCreate");
      launches = new Launches(context, image, stream);
      norm = new CudaNorm(launches);
      math = new CudaMath(launches);
    } finally {
      context.leave();
    }
  }

  @Override
  public Device device() {
    return device;
  }

  @Override
  public String description() {
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
      CUdeviceptr p = new CUdeviceptr();
      int result = JCudaDriver.cuMemAlloc(p, Math.max(bytes, 1));
      Cuda.check(result, "cuMemAlloc(" + bytes + " bytes)");
      return new CudaStorage(Handles.get(p), bytes);
    } finally {
      context.leave();
    }
  }

  @Override
  public void free(Storage s) {
    context.enter();
    try {
      Cuda.check(JCudaDriver.cuMemFree(Handles.set(to, s.address())), "cuMemFree");
    } finally {
      context.leave();
    }
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
  public void upload(ByteBuffer source, int at, Storage s, long offset, int bytes) {
    ByteBuffer direct = ByteBuffer.allocateDirect(bytes).put(0, source, at, bytes);
    context.enter();
    try {
      Handles.set(to, s.address() + offset);
      Cuda.check(
          JCudaDriver.cuMemcpyHtoDAsync(to, Pointer.toBuffer(direct), bytes, stream),
          "cuMemcpyHtoDAsync");
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    } finally {
      context.leave();
    }
  }

  @Override
  public void download(Storage s, long offset, ByteBuffer target, int at, int bytes) {
    ByteBuffer direct = ByteBuffer.allocateDirect(bytes);
    context.enter();
    try {
      Handles.set(from, s.address() + offset);
      Cuda.check(
          JCudaDriver.cuMemcpyDtoHAsync(Pointer.toBuffer(direct), from, bytes, stream),
          "cuMemcpyDtoHAsync");
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    } finally {
      context.leave();
    }
    target.put(at, direct, 0, bytes);
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
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
    } finally {
      context.leave();
    }
  }

  @Override
  public void host(Runnable r) {
    synchronize();
    r.run();
  }

  @Override
  public long gateBytes(Shape s) {
    return norm.gateBytes(s);
  }

  @Override
  public void moments(Tensor x, Moments out) {
    context.enter();
    try {
      launches.reset();
      norm.moments(x, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    context.enter();
    try {
      launches.reset();
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    context.enter();
    try {
      launches.reset();
      norm.merge(gathered, parts, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    context.enter();
    try {
      launches.reset();
      norm.coefficients(m, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    context.enter();
    try {
      launches.reset();
      norm.coefficients(r, a, eps, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    context.enter();
    try {
      launches.reset();
      norm.normalize(x, s, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    context.enter();
    try {
      launches.reset();
      norm.gradientSums(dy, x, s, f, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    context.enter();
    try {
      launches.reset();
      norm.inputGradient(dy, x, s, total, f, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    context.enter();
    try {
      launches.reset();
      norm.gradients(s, gradients, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void forward(
      Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    context.enter();
    try {
      launches.reset();
      norm.forward(x, a, eps, f, residual, out, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    context.enter();
    try {
      launches.reset();
      norm.backward(dy, x, s, f, out, dx, dResidual);
    } finally {
      context.leave();
    }
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    context.enter();
    try {
      launches.reset();
      norm.infer(x, r, a, eps, f, residual, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    context.enter();
    try {
      launches.reset();
      norm.commit(s, r);
    } finally {
      context.leave();
    }
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    context.enter();
    try {
      launches.reset();
      math.matmul(a, transposeA, b, transposeB, c, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    context.enter();
    try {
      launches.reset();
      math.addBias(x, bias, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    context.enter();
    try {
      launches.reset();
      math.biasGradient(dy, dbias, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    context.enter();
    try {
      launches.reset();
      math.activate(f, x, y);
    } finally {
      context.leave();
    }
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    context.enter();
    try {
      launches.reset();
      math.activationGradient(f, y, dy, dx);
    } finally {
      context.leave();
    }
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    context.enter();
    try {
      launches.reset();
      math.softmaxCrossEntropy(logits, labels, loss, dlogits);
    } finally {
      context.leave();
    }
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    context.enter();
    try {
      launches.reset();
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
    context.enter();
    try {
      launches.reset();
      math.sgd(value, gradient, velocity, learningRate, momentum, weightDecay);
    } finally {
      context.leave();
    }
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    context.enter();
    try {
      launches.reset();
      math.gather(table, rows, scale, out);
    } finally {
      context.leave();
    }
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    context.enter();
    try {
      launches.reset();
      math.squaredNorm(x, out, w);
    } finally {
      context.leave();
    }
  }

  @Override
  public void close() {
    context.enter();
    try {
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize");
      math.close();
      launches.close();
      Cuda.check(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy");
    } finally {
      context.leave();
    }
    context.close();
  }
}
