package org.fusednorm;

/**
 * How another library means the same words: what its momentum weighs, its defaults, which variance
 * it keeps and what it calls its tensors. The normalization itself always uses the biased variance
 * of the batch, in all of them.
 */
public enum Profile {
  /** PyTorch: momentum weighs the new value; running variance unbiased. Our own conventions. */
  PYTORCH(false, 0.1, 1e-5, true, "weight", "bias", "running_mean", "running_var"),
  /** Keras with its fused kernel: momentum weighs the old value; running variance unbiased. */
  KERAS_FUSED(true, 0.99, 1e-3, true, "gamma", "beta", "moving_mean", "moving_variance"),
  /** Keras without its fused kernel: as fused, but running variance biased. */
  KERAS(true, 0.99, 1e-3, false, "gamma", "beta", "moving_mean", "moving_variance"),
  /** Flax: momentum weighs the old value; running variance biased. */
  FLAX(true, 0.99, 1e-5, false, "scale", "bias", "mean", "var"),
  /** DJL on its PyTorch engine: momentum weighs the old value; running variance unbiased. */
  DJL(true, 0.9, 1e-5, true, "gamma", "beta", "runningMean", "runningVar"),
  /** ONNX BatchNormalization: momentum weighs the old value; running variance biased. */
  ONNX(true, 0.9, 1e-5, false, "scale", "B", "input_mean", "input_var");

  private final boolean momentumOfOld;
  private final double momentum;
  private final double eps;
  private final boolean unbiased;
  private final String gammaName;
  private final String betaName;
  private final String meanName;
  private final String varianceName;

  Profile(
      boolean momentumOfOld,
      double momentum,
      double eps,
      boolean unbiased,
      String gammaName,
      String betaName,
      String meanName,
      String varianceName) {
    this.momentumOfOld = momentumOfOld;
    this.momentum = momentum;
    this.eps = eps;
    this.unbiased = unbiased;
    this.gammaName = gammaName;
    this.betaName = betaName;
    this.meanName = meanName;
    this.varianceName = varianceName;
  }

  /** This library's momentum as the weight of the new value, which is what we compute with. */
  public double weightOfNew(double momentumHere) {
    return momentumOfOld ? 1 - momentumHere : momentumHere;
  }

  /** The weight of the new value as this library's momentum. */
  public double fromWeightOfNew(double weight) {
    return momentumOfOld ? 1 - weight : weight;
  }

  /** Default momentum, in this library's meaning. */
  public double momentum() {
    return momentum;
  }

  /** Default eps. */
  public double eps() {
    return eps;
  }

  /** Whether the running variance takes m / (m - 1) times the batch's biased variance. */
  public boolean unbiased() {
    return unbiased;
  }

  /** Name of the scale in checkpoints. */
  public String gammaName() {
    return gammaName;
  }

  /** Name of the shift in checkpoints. */
  public String betaName() {
    return betaName;
  }

  /** Name of the running mean in checkpoints. */
  public String meanName() {
    return meanName;
  }

  /** Name of the running variance in checkpoints. */
  public String varianceName() {
    return varianceName;
  }

  /** Name of the number of batches seen in checkpoints, null where the library keeps none. */
  public String countName() {
    return this == PYTORCH ? "num_batches_tracked" : null;
  }
}
