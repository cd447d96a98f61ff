package org.fusednorm;

/** What a normalization applies to its result (after adding the residual) in the same pass. */
public enum Activation {
  /** Nothing. */
  NONE,
  /**
   * max(0, v), with NaN kept: {@code v <= 0 ? 0 : v}. The gradient passes where {@code !(v <= 0)}.
   */
  RELU
}
