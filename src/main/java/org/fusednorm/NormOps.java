package org.fusednorm;

import java.util.List;

/**
 * Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167) in its parts and fused. Outputs
 * are given by the caller and nothing is allocated.
 *
 * <p>Data tensors (x, y, dy, dx, residual) have one shape with a channel axis and one type of F32,
 * F16, BF16 or F64; gamma, beta and their gradients are [C] of {@link DType#parameter()}. The batch
 * is normalized by its biased variance.
 *
 * <p>Aliasing: {@code normalize} and {@code infer} may write y over x or the residual; a training
 * {@code forward} not over x. dx may be dy or x, dResidual may be dy, dx and dResidual must differ.
 * Partial overlap is refused everywhere.
 *
 * <p>Special values: a NaN or Inf stays in its channel, a constant channel gives exactly beta, an
 * empty batch gives empty outputs, zero gradients and count 0.
 *
 * <p>All verbs throw IllegalArgumentException naming shapes and dtypes for arguments that do not
 * fit, and IllegalStateException for closed tensors.
 */
public interface NormOps {
  /** Count, mean and M2 per channel of {@code x}. */
  void moments(Tensor x, Moments out);

  /**
   * Moments of the union of {@code parts} disjoint sets, merged in rank order by Chan's formula.
   *
   * @param gathered F64 [parts, 1 + 2 C] or its flat form, packed moments one after another
   */
  void merge(Tensor gathered, int parts, Moments out);

  /**
   * Sums over {@code parts} disjoint sets, added in rank order.
   *
   * @param gathered F64 [parts, 2 C] or its flat form, packed sums one after another
   */
  void merge(Tensor gathered, int parts, Sums out);

  /** Coefficients that normalize by the given moments. */
  void coefficients(Moments m, Affine a, double eps, Saved out);

  /** Coefficients that normalize by running statistics, which backward then takes as constants. */
  void coefficients(Running r, Affine a, double eps, Saved out);

  /**
   * y = f((x - c) a + b + residual).
   *
   * @param residual added before the activation; null for none
   */
  void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y);

  /** Sums of dy and dy xhat, dy gated by the activation. */
  void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out);

  /**
   * dx = a (dy - sumDy / m - xhat sumDyXhat / m), dy gated by the activation and m the count in
   * {@code s}; a dy where the statistics were constants.
   *
   * @param dResidual gets the gated dy; null for none
   */
  void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual);

  /** Rounds sums into the gradients of gamma and beta (those that are not null), or adds them. */
  void gradients(Sums s, Affine gradients, Write w);

  /**
   * Training forward: moments, coefficients and normalize, fused. Running statistics are not
   * touched: see {@link #commit}.
   *
   * @throws IllegalArgumentException also for exactly one value per channel, whose variance says
   *     nothing
   */
  void forward(Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y);

  /** Gradient sums and input gradient, fused. */
  void backward(Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual);

  /** y = f(gamma (x - mean) / sqrt(variance + eps) + beta + residual) by running statistics. */
  void infer(Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y);

  /**
   * Takes the batch statistics of each {@code s} into the running ones of the {@code r} at the same
   * place, one launch for all. Saved states of fewer than two values per channel are passed by.
   */
  void commit(List<Saved> s, List<Running> r);
}
