package org.fusednorm;

/**
 * The learned map of a normalization, y = gamma xhat + beta (Ioffe and Szegedy 2015, Alg. 1), or
 * the place of its gradients.
 *
 * @param gamma scale, one value per channel of the data's {@link DType#parameter()}; null means 1
 * @param beta shift, likewise; null means 0
 */
public record Affine(Tensor gamma, Tensor beta) {
  /** Neither scale nor shift. */
  public static final Affine NONE = new Affine(null, null);
}
