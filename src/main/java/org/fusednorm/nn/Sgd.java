package org.fusednorm.nn;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.MathOps;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;

/**
 * Stochastic gradient descent in PyTorch's terms: g = gradient + weightDecay value; velocity =
 * momentum velocity + g; value -= learningRate velocity. The three numbers live in device memory,
 * so that a recorded {@link #step} follows their changes.
 */
public final class Sgd implements AutoCloseable {
  private final MathOps math;
  private final List<Parameter> parameters;

  /** Null without momentum. */
  private final List<Tensor> velocities;

  private final Scalar learningRate;
  private final Scalar momentum;
  private final Scalar weightDecay;

  private Sgd(Builder b) {
    math = b.memory.backend().math();
    parameters = b.parameters;
    learningRate = b.memory.scalar(b.learningRate);
    momentum = b.momentum == null ? null : b.memory.scalar(b.momentum);
    weightDecay = b.weightDecay == null ? null : b.memory.scalar(b.weightDecay);
    velocities = momentum == null ? null : zerosLike(parameters, b.memory);
  }

  private static List<Tensor> zerosLike(List<Parameter> parameters, Memory m) {
    return parameters.stream().map(p -> m.zeros(p.value().shape(), p.value().dtype())).toList();
  }

  /** Descent for {@code parameters}; its own tensors lie in {@code m}. */
  public static Builder builder(Memory m, List<Parameter> parameters) {
    return new Builder(m, parameters);
  }

  /** Changes all parameters by their gradients. */
  public void step() {
    math.sgd(parameters, velocities, learningRate, momentum, weightDecay);
  }

  /** The learning rate. */
  public Scalar learningRate() {
    return learningRate;
  }

  /** The momentum; null when built without. */
  public Scalar momentum() {
    return momentum;
  }

  /** The weight decay; null when built without. */
  public Scalar weightDecay() {
    return weightDecay;
  }

  /**
   * The velocities, for a checkpoint: {@code dense1.weight.momentum_buffer}, in PyTorch's word.
   * Empty without momentum.
   */
  public Map<String, Tensor> state() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    for (int i = 0; velocities != null && i < parameters.size(); i++) {
      all.put(parameters.get(i).name() + ".momentum_buffer", velocities.get(i));
    }
    return all;
  }

  /** Frees velocities and numbers; the parameters are the layers'. */
  @Override
  public void close() {
    if (velocities != null) {
      velocities.forEach(Tensor::close);
    }
    learningRate.close();
    if (momentum != null) {
      momentum.close();
    }
    if (weightDecay != null) {
      weightDecay.close();
    }
  }

  /** Settings of an {@link Sgd}. */
  public static final class Builder {
    private final Memory memory;
    private final List<Parameter> parameters;
    private double learningRate = 0.01;
    private Double momentum;
    private Double weightDecay;

    private Builder(Memory memory, List<Parameter> parameters) {
      this.memory = memory;
      this.parameters = List.copyOf(parameters);
    }

    /** Learning rate, 0.01 by default. */
    public Builder learningRate(double v) {
      learningRate = positive("learning rate", v);
      return this;
    }

    /** Keeps velocities, also for 0, so that the momentum may be raised later. */
    public Builder momentum(double v) {
      momentum = positive("momentum", v);
      return this;
    }

    /** Adds this times the value to each gradient (L2 regularization). */
    public Builder weightDecay(double v) {
      weightDecay = positive("weight decay", v);
      return this;
    }

    /** Makes the optimizer, with velocities of zero. */
    public Sgd build() {
      return new Sgd(this);
    }

    private static double positive(String name, double v) {
      if (!(v >= 0) || Double.isInfinite(v)) {
        throw new IllegalArgumentException(name + " must be finite and not negative, not " + v);
      }
      return v;
    }
  }
}
