package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.BackendException;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * The verbs of {@link org.fusednorm.NormOps} on a GPU. Each is called by {@link CudaEngine} alone,
 * one at a time and with the context bound, with arguments that were validated; it may only queue
 * work on {@link Launches#stream()}, because it may be at work in a capture: no allocation but
 * {@link Launches#workspace}, no copy to or from the host, no wait.
 */
final class CudaNorm {
  /** Every entry that is called from here. */
  static final List<String> ENTRIES =
      Stream.of("plane", "row", "mixed", "scalar")
          .flatMap(
              layout -> Stream.of("f32", "f16", "bf16").map(type -> "infer_" + layout + "_" + type))
          .toList();

  private final Launches launches;

  CudaNorm(Launches launches) {
    this.launches = launches;
  }

  long gateBytes(Shape s) {
    throw new BackendException("not yet: gateBytes");
  }

  void moments(Tensor x, Moments out) {
    throw new BackendException("not yet: moments");
  }

  void merge(Tensor gathered, int parts, Moments out) {
    throw new BackendException("not yet: merge");
  }

  void merge(Tensor gathered, int parts, Sums out) {
    throw new BackendException("not yet: merge");
  }

  void coefficients(Moments m, Affine a, double eps, Saved out) {
    throw new BackendException("not yet: coefficients");
  }

  void coefficients(Running r, Affine a, double eps, Saved out) {
    throw new BackendException("not yet: coefficients");
  }

  void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    throw new BackendException("not yet: normalize");
  }

  void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    throw new BackendException("not yet: gradientSums");
  }

  void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    throw new BackendException("not yet: inputGradient");
  }

  void gradients(Sums s, Affine gradients, Write w) {
    throw new BackendException("not yet: gradients");
  }

  void forward(Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    throw new BackendException("not yet: forward");
  }

  void backward(Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    throw new BackendException("not yet: backward");
  }

  void infer(Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    throw new BackendException("not yet: infer");
  }

  void commit(List<Saved> s, List<Running> r) {
    throw new BackendException("not yet: commit");
  }
}
