package org.fusednorm.cpu;

import java.nio.ByteBuffer;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.Engine;
import org.fusednorm.Moments;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Parameter;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Storage;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;

/** Every verb on all cores, done when it returns. */
final class CpuEngine implements Engine {
  private static final Device DEVICE = new Device(CpuProvider.NAME, 0);

  private final Workers workers;
  private final Isa isa;

  /** What a Java thread keeps from call to call, so that no call allocates. */
  private static final class Calls {
    final Layout layout = new Layout();
    final NormCall norm;
    final MathCall math;
    final Descent descent;
    final Gather gather;
    final Product product;
    final MemoryCall memory;

    Calls(Workers workers, Isa isa, Stores stores) {
      norm = new NormCall(workers, isa, stores);
      math = new MathCall(workers, isa);
      descent = new Descent(workers, isa);
      gather = new Gather(workers, isa);
      product = new Product(workers);
      memory = new MemoryCall(workers);
    }
  }

  private final ThreadLocal<Calls> calls;

  CpuEngine(int threads) {
    this(threads, Simd.chosen());
  }

  /** With the kernels of an instruction set that the machine has; plain Java for null. */
  CpuEngine(int threads, Isa isa) {
    this(threads, isa, Stores.BY_SIZE);
  }

  /** With results that go one way, to compare the two. */
  CpuEngine(int threads, Isa isa, Stores stores) {
    this.isa = isa;
    workers = new Workers(threads);
    calls = ThreadLocal.withInitial(() -> new Calls(workers, isa, stores));
  }

  /** Threads, native library and matrix products, in one line. */
  static String describe(int threads, Isa isa) {
    String memory =
        NativeLibrary.isAvailable()
            ? "native library " + NativeLibrary.version()
            : "no native library (" + NativeLibrary.unavailabilityCause() + ")";
    return threads
        + (threads == 1 ? " thread, " : " threads, ")
        + (isa == null ? "plain-Java" : isa.label())
        + " kernels, "
        + memory
        + ", "
        + Product.describe();
  }

  @Override
  public Device device() {
    return DEVICE;
  }

  @Override
  public String description() {
    return describe(workers.threads(), isa);
  }

  @Override
  public int threads() {
    return workers.threads();
  }

  @Override
  public boolean computes(DType t) {
    return t == DType.F32 || t == DType.F64;
  }

  @Override
  public Storage allocate(long bytes) {
    return HostStorage.allocate(bytes);
  }

  @Override
  public void free(Storage s) {
    host(s).free();
  }

  @Override
  public Storage wrap(ByteBuffer direct, int position, int bytes) {
    return HostStorage.over(direct, position, bytes);
  }

  @Override
  public Storage wrap(long address, long bytes) {
    return HostStorage.at(address, bytes);
  }

  @Override
  public void upload(ByteBuffer from, int at, Storage to, long offset, int bytes) {
    host(to).upload(from, at, offset, bytes);
  }

  @Override
  public void download(Storage from, long offset, ByteBuffer to, int at, int bytes) {
    host(from).download(offset, to, at, bytes);
  }

  @Override
  public void copy(Storage from, long fromOffset, Storage to, long toOffset, long bytes) {
    calls.get().memory.copy(host(from), fromOffset, host(to), toOffset, bytes);
  }

  @Override
  public void zero(Storage s, long offset, long bytes) {
    calls.get().memory.zero(host(s), offset, bytes);
  }

  private static HostStorage host(Storage s) {
    return (HostStorage) s;
  }

  @Override
  public void synchronize() {}

  @Override
  public void host(Runnable r) {
    r.run();
  }

  @Override
  public Graph capture(List<Runnable> work) {
    return workers.threads() == 1 ? null : new Replays(workers, work);
  }

  @Override
  public long gateBytes(Shape s) {
    return calls.get().layout.set(s, Scratch.CHUNK).gateBytes();
  }

  @Override
  public void moments(Tensor x, Moments out) {
    calls.get().norm.moments(x, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    Statistics.merge(gathered, parts, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    Statistics.merge(gathered, parts, out);
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    calls.get().norm.coefficients(m, a, eps, out);
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    calls.get().norm.coefficients(r, a, eps, out);
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    calls.get().norm.normalize(x, s, f, residual, y);
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    calls.get().norm.gradientSums(dy, x, s, f, out);
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    calls.get().norm.inputGradient(dy, x, s, total, f, dx, dResidual);
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    Statistics.gradients(s, gradients, w, workers.scratch());
  }

  @Override
  public void forward(
      Tensor x,
      Affine a,
      double eps,
      Activation f,
      Tensor residual,
      Saved out,
      Tensor y,
      boolean isReadNext) {
    calls.get().norm.forward(x, a, eps, f, residual, out, y, isReadNext);
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    calls.get().norm.backward(dy, x, s, f, out, dx, dResidual);
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    calls.get().norm.infer(x, r, a, eps, f, residual, y);
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    Statistics.commit(s, r, workers.scratch());
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    calls.get().product.matmul(a, transposeA, b, transposeB, c, w);
  }

  @Override
  public void denseGradients(
      Tensor dy, Tensor x, Tensor weight, Tensor dweight, Write w, Tensor dx) {
    calls.get().product.denseGradients(dy, x, weight, dweight, w, dx);
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    calls.get().math.addBias(x, bias, y);
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    calls.get().math.biasGradient(dy, dbias, w);
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    calls.get().math.activate(f, x, y);
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    calls.get().math.activationGradient(f, y, dy, dx);
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    calls.get().math.softmaxCrossEntropy(logits, labels, loss, dlogits);
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    calls.get().math.correct(logits, labels, count, w);
  }

  @Override
  public void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    calls.get().descent.run(value, gradient, velocity, learningRate, momentum, weightDecay);
  }

  @Override
  public void sgd(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    calls.get().descent.run(parameters, velocities, learningRate, momentum, weightDecay);
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    calls.get().gather.run(table, rows, scale, out);
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    calls.get().math.squaredNorm(x, out, w);
  }

  @Override
  public void close() {
    // They point at the tensors of the last call, and the thread may live on.
    calls.remove();
    workers.close();
  }
}
