package org.fusednorm;

/** Element-wise functions of {@link MathOps}; their gradients are computed from the output. */
public enum Nonlinearity {
  /** 1 / (1 + exp(-v)); gradient y (1 - y). */
  SIGMOID,
  /** tanh(v); gradient 1 - y^2. */
  TANH,
  /** {@code v <= 0 ? 0 : v}; gradient 1 where {@code !(y <= 0)}, else 0. */
  RELU
}
