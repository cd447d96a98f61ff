package org.fusednorm.nn;

import java.util.List;
import java.util.Map;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Tensor;

/** A function with parameters. Bound to an input it can be computed. */
public interface Layer extends AutoCloseable {
  /** Binds with no gradient of {@code x}: the first layer of a network, or inference. */
  default Bound bind(Tensor x, Use use, Memory m) {
    return bind(x, null, use, m);
  }

  /**
   * Binds this layer to its input; several may be bound at once and share the parameters. All
   * memory that forward and backward need is taken here.
   *
   * @param x input, [batch, ...]; read by every forward, and must stay as it was until the backward
   * @param dx gets the gradient of {@code x} at backward, same shape and type; null when nobody
   *     needs it
   * @param use training or inference; inference takes no {@code dx}
   * @param m where outputs and what backward needs are kept
   * @throws IllegalArgumentException when {@code x} does not fit this layer, naming both
   */
  Bound bind(Tensor x, Tensor dx, Use use, Memory m);

  /**
   * Whether {@link Bound#backward} may be given {@code dx} itself as dy, and writes over it. A
   * {@link Sequential} then needs one gradient tensor for the input and the output of this layer.
   */
  default boolean gradientInPlace() {
    return false;
  }

  /** The learned tensors and their gradients. */
  default List<Parameter> parameters() {
    return List.of();
  }

  /** All that training changes, by name; the tensors themselves, not copies. */
  default Map<String, Tensor> state() {
    return Map.of();
  }

  /**
   * This layer over population statistics (the paper's Alg. 2, steps 7 to 11): all parameters are
   * shared, running statistics are its own, the plain average over all batches. Each forward bound
   * for {@link Use#TRAIN} normalizes by the batch and adds it to the average, each one bound for
   * {@link Use#INFER} normalizes by the average; the moving averages of this layer stay as they
   * are.
   *
   * @return this, for layers without running statistics; closing any other result frees its
   *     statistics and leaves this layer open
   */
  default Layer population(Memory m) {
    return this;
  }

  /** Starts running statistics anew, where there are some. */
  default void resetStatistics() {}

  /** Frees the layer's tensors. */
  @Override
  default void close() {}
}
