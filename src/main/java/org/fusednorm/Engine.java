package org.fusednorm;

import java.nio.ByteBuffer;
import java.util.List;

/**
 * Internal: one way to compute, behind {@link Backend}. Engines hold kernels, not rules: every
 * argument was validated above (shapes, dtypes, devices, lifetimes, aliasing), so an engine checks
 * nothing, and what it must do is only what the verbs of {@link NormOps} and {@link MathOps} say.
 *
 * <p>Work may be asynchronous, in the order of the calls; {@link #download} and {@link
 * #synchronize} wait. A verb that was called before with tensors of the same shapes allocates
 * nothing, neither on the Java heap nor off it. Any thread may call, several at once; results do
 * not depend on the number of threads, bit for bit.
 *
 * <p>Zero elements are legal everywhere: a moment of nothing has count 0, mean 0 and M2 0.
 */
public interface Engine extends AutoCloseable {
  /** The device that this engine computes on. */
  Device device();

  /** Versions, instruction set and threads, in one line for people. */
  String description();

  /** Threads of the host that compute, the caller's among them. */
  int threads();

  /**
   * Whether {@link MathOps} verbs take tensors of type {@code t}; normalization takes all floats.
   */
  boolean computes(DType t);

  /**
   * Takes memory of undefined content, aligned to 64 bytes.
   *
   * @throws BackendException naming the bytes, when there is none
   */
  Storage allocate(long bytes);

  /** Gives memory of {@link #allocate} back, after the work queued so far. */
  void free(Storage s);

  /** Bytes taken from the device for all that is allocated, for work and to be kept. */
  default long heldBytes() {
    return 0;
  }

  /** Part of {@link #heldBytes}: bytes of freed memory that the next allocations get. */
  default long cachedBytes() {
    return 0;
  }

  /** Describes the {@code bytes} bytes of a direct buffer from {@code position} on. */
  Storage wrap(ByteBuffer direct, int position, int bytes);

  /**
   * Describes foreign memory.
   *
   * @throws BackendException where this engine cannot reach memory by address
   */
  Storage wrap(long address, long bytes);

  /** Copies from the host; {@code from} may be reused when this returns. Buffers of any kind. */
  void upload(ByteBuffer from, int at, Storage to, long offset, int bytes);

  /** Copies to the host, after the work queued so far, and waits. Buffers of any kind. */
  void download(Storage from, long offset, ByteBuffer to, int at, int bytes);

  /** Copies within the device; the ranges are equal or do not overlap. */
  void copy(Storage from, long fromOffset, Storage to, long toOffset, long bytes);

  /** Writes zero bytes. */
  void zero(Storage s, long offset, long bytes);

  /** Waits until all queued work is done; failures of that work surface here. */
  void synchronize();

  /** Runs {@code r} in the order of the queued work. */
  void host(Runnable r);

  /** Launches that were captured. */
  interface Graph extends AutoCloseable {
    /** Queues all of them. */
    void launch();

    /** Lets them go, after the work queued so far. */
    @Override
    void close();
  }

  /**
   * Captures work, calls of verbs that were made once just before, so that it starts faster than
   * call by call.
   *
   * @return null where nothing would be faster
   */
  default Graph capture(List<Runnable> work) {
    return null;
  }

  /** Bytes of the ReLU gate that a residual forward of this shape keeps; the layout is its own. */
  long gateBytes(Shape s);

  /** See {@link NormOps#moments}. */
  void moments(Tensor x, Moments out);

  /** See {@link NormOps#merge(Tensor, int, Moments)}. */
  void merge(Tensor gathered, int parts, Moments out);

  /** See {@link NormOps#merge(Tensor, int, Sums)}. */
  void merge(Tensor gathered, int parts, Sums out);

  /** See {@link NormOps#coefficients(Moments, Affine, double, Saved)}. */
  void coefficients(Moments m, Affine a, double eps, Saved out);

  /** See {@link NormOps#coefficients(Running, Affine, double, Saved)}. */
  void coefficients(Running r, Affine a, double eps, Saved out);

  /** See {@link NormOps#normalize}; {@code s.gate()} is written when there is one. */
  void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y);

  /** See {@link NormOps#gradientSums}; {@code s.gate()} decides when there is one. */
  void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out);

  /** See {@link NormOps#inputGradient}; {@code s.gate()} decides when there is one. */
  void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual);

  /** See {@link NormOps#gradients}. */
  void gradients(Sums s, Affine gradients, Write w);

  /**
   * Moments, coefficients and normalize in one.
   *
   * @param isReadNext whether y is known to be read as soon as it is there, so that it had better
   *     stay in a cache; changes no bit
   */
  void forward(
      Tensor x,
      Affine a,
      double eps,
      Activation f,
      Tensor residual,
      Saved out,
      Tensor y,
      boolean isReadNext);

  /** Gradient sums and input gradient in one. */
  void backward(Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual);

  /** See {@link NormOps#infer}. */
  void infer(Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y);

  /** See {@link NormOps#commit}. */
  void commit(List<Saved> s, List<Running> r);

  /** See {@link MathOps#matmul}. */
  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w);

  /** See {@link MathOps#denseGradients}; {@code dx} may be null. */
  default void denseGradients(
      Tensor dy, Tensor x, Tensor weight, Tensor dweight, Write w, Tensor dx) {
    matmul(dy, true, x, false, dweight, w);
    if (dx != null) {
      matmul(dy, false, weight, false, dx, Write.SET);
    }
  }

  /** See {@link MathOps#addBias}. */
  void addBias(Tensor x, Tensor bias, Tensor y);

  /** See {@link MathOps#biasGradient}. */
  void biasGradient(Tensor dy, Tensor dbias, Write w);

  /** See {@link MathOps#activate}. */
  void activate(Nonlinearity f, Tensor x, Tensor y);

  /** See {@link MathOps#activationGradient}. */
  void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx);

  /** See {@link MathOps#softmaxCrossEntropy}; {@code dlogits} may be null. */
  void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits);

  /** See {@link MathOps#correct}. */
  void correct(Tensor logits, Tensor labels, Tensor count, Write w);

  /** As {@link MathOps} says; velocity, momentum and weightDecay may be null. */
  void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay);

  /** The same for all of {@code parameters}; velocities may be null. */
  default void sgd(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    for (int i = 0; i < parameters.size(); i++) {
      Parameter p = parameters.get(i);
      Tensor velocity = velocities == null ? null : velocities.get(i);
      sgd(p.value(), p.gradient(), velocity, learningRate, momentum, weightDecay);
    }
  }

  /** See {@link MathOps#gather}. */
  void gather(Tensor table, Tensor rows, double scale, Tensor out);

  /** See {@link MathOps#squaredNorm}. */
  void squaredNorm(Tensor x, Tensor out, Write w);

  /** Frees what the engine itself holds; the facade has freed all storage before. */
  @Override
  void close();
}
