package org.fusednorm.nn;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.DType;
import org.fusednorm.MathOps;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * y = x W^T + b, with W [out, in] as PyTorch's Linear keeps it. The input is [batch, ...] with in
 * elements per example, the output [batch, out]. Before a batch normalization leave the bias out:
 * the subtraction of the mean cancels it (paper, section 3.2).
 */
public final class Dense implements Layer {
  private final long in;
  private final long out;
  private final Tensor weight;
  private final Tensor weightGradient;
  private final Tensor bias;
  private final Tensor biasGradient;
  private final List<Parameter> parameters;

  private Dense(Builder b) {
    in = b.in;
    out = b.out;
    Shape matrix = Shape.of(out, in);
    weight = b.memory.empty(matrix, b.type);
    b.weight.fill(weight);
    weightGradient = b.memory.zeros(matrix, b.type);
    List<Parameter> all = new ArrayList<>();
    all.add(new Parameter("weight", weight, weightGradient));
    if (b.withBias) {
      bias = b.memory.empty(Shape.of(out), b.type);
      b.bias.fill(bias);
      biasGradient = b.memory.zeros(Shape.of(out), b.type);
      all.add(new Parameter("bias", bias, biasGradient));
    } else {
      bias = null;
      biasGradient = null;
    }
    parameters = List.copyOf(all);
  }

  /**
   * A layer from {@code in} to {@code out} values per example.
   *
   * @param weight fills the matrix
   */
  public static Builder builder(Memory m, long in, long out, Init weight) {
    return new Builder(m, in, out, weight);
  }

  /** Values per example of the input. */
  public long in() {
    return in;
  }

  /** Values per example of the output. */
  public long out() {
    return out;
  }

  @Override
  public Bound bind(Tensor x, Tensor dx, Use use, Memory m) {
    long batch = x.shape().rank() == 0 ? 0 : x.shape().batch();
    if (x.shape().rank() == 0
        || x.shape().withBatch(1).elements() != in
        || x.dtype() != weight.dtype()) {
      throw new IllegalArgumentException(
          this + " takes [batch, " + in + "] " + weight.dtype() + ", not " + x);
    }
    CheckedBound.checkGradient(toString(), use, x, dx);
    return new BoundDense(x, dx, use, m.empty(Shape.nc(batch, out), x.dtype()));
  }

  @Override
  public List<Parameter> parameters() {
    return parameters;
  }

  @Override
  public Map<String, Tensor> state() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    for (Parameter p : parameters) {
      all.put(p.name(), p.value());
    }
    return all;
  }

  @Override
  public void close() {
    for (Parameter p : parameters) {
      p.value().close();
      p.gradient().close();
    }
  }

  /** For example {@code Dense(784, 100)}. */
  @Override
  public String toString() {
    return "Dense(" + in + ", " + out + (bias == null ? ", no bias)" : ")");
  }

  private final class BoundDense extends CheckedBound {
    private final Tensor x;
    private final MathOps math;

    BoundDense(Tensor x, Tensor dx, Use use, Tensor y) {
      super(Dense.this.toString(), use, dx, y);
      this.x = x;
      math = x.backend().math();
    }

    @Override
    void compute() {
      math.matmul(x, false, weight, true, y(), Write.SET);
      if (bias != null) {
        math.addBias(y(), bias, y());
      }
    }

    @Override
    void differentiate(Tensor dy, Write w) {
      if (bias != null) {
        math.biasGradient(dy, biasGradient, w);
      }
      math.denseGradients(dy, x, weight, weightGradient, w, dx());
    }
  }

  /** Settings of a {@link Dense}. */
  public static final class Builder {
    private final Memory memory;
    private final long in;
    private final long out;
    private final Init weight;
    private Init bias = Init.zeros();
    private boolean withBias = true;
    private DType type = DType.F32;

    private Builder(Memory memory, long in, long out, Init weight) {
      if (in < 1 || out < 1) {
        throw new IllegalArgumentException(
            "a dense layer needs at least 1 input and output, not " + in + " and " + out);
      }
      this.memory = memory;
      this.in = in;
      this.out = out;
      this.weight = weight;
    }

    /** Whether there is a bias; by default yes. */
    public Builder bias(boolean on) {
      withBias = on;
      return this;
    }

    /** Fills the bias; by default with zeros. */
    public Builder bias(Init init) {
      bias = init;
      withBias = true;
      return this;
    }

    /**
     * Type of data and parameters, F32 by default; one that the backend {@linkplain
     * org.fusednorm.Backend#computes computes}.
     */
    public Builder dtype(DType t) {
      if (!memory.backend().computes(t)) {
        throw new IllegalArgumentException(memory.backend() + " does not compute in " + t);
      }
      type = t;
      return this;
    }

    /** Makes the layer. */
    public Dense build() {
      return new Dense(this);
    }
  }
}
