package org.fusednorm;

/**
 * A learned tensor and the place of its gradient.
 *
 * @param name name within its layer, in PyTorch's terms: {@code weight} or {@code bias}
 * @param value the value that an optimizer changes
 * @param gradient same shape and type; written by backward
 */
public record Parameter(String name, Tensor value, Tensor gradient) {}
