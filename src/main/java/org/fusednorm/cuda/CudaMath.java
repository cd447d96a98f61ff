package org.fusednorm.cuda;

import java.util.Arrays;
import java.util.List;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * The verbs of {@link org.fusednorm.MathOps} on a GPU, under the rules of {@link CudaNorm}: called
 * by {@link CudaEngine} alone, one at a time and with the context bound, with arguments that were
 * validated; they only queue work on {@link Launches#stream()}.
 */
final class CudaMath {
  /** Every entry that is called from here. */
  static final List<String> ENTRIES = List.of();

  private final Launches launches;

  CudaMath(Launches launches) {
    this.launches = launches;
  }

  /** Whether the verbs take tensors of type {@code t}. */
  boolean computes(DType t) {
    return t == DType.F32 || t == DType.F64;
  }

  /**
   * The exception that a complaint of a kernel becomes at the next wait: see {@link
   * Launches#complaint()}.
   *
   * @param words what the kernel wrote; the first is not 0
   */
  RuntimeException complaint(long[] words) {
    return new IllegalArgumentException("complaint " + Arrays.toString(words));
  }

  /** Frees what the verbs themselves hold, with the context bound. */
  void close() {}

  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    throw new BackendException("not yet: matmul");
  }

  void addBias(Tensor x, Tensor bias, Tensor y) {
    throw new BackendException("not yet: addBias");
  }

  void biasGradient(Tensor dy, Tensor dbias, Write w) {
    throw new BackendException("not yet: biasGradient");
  }

  void activate(Nonlinearity f, Tensor x, Tensor y) {
    throw new BackendException("not yet: activate");
  }

  void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    throw new BackendException("not yet: activationGradient");
  }

  void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    throw new BackendException("not yet: softmaxCrossEntropy");
  }

  void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    throw new BackendException("not yet: correct");
  }

  void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    throw new BackendException("not yet: sgd");
  }

  void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    throw new BackendException("not yet: gather");
  }

  void squaredNorm(Tensor x, Tensor out, Write w) {
    throw new BackendException("not yet: squaredNorm");
  }
}
