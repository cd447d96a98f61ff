package org.fusednorm;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Batch normalization of Ioffe and Szegedy 2015 (arXiv 1502.03167) as a layer: gamma and beta with
 * their gradients, running statistics, and optionally ReLU and a residual fused in.
 *
 * <p>Training normalizes by the batch's mean and biased variance; running statistics take the batch
 * in with weight momentum (PyTorch's meaning: of the new value), the variance unbiased. {@link
 * #forward} commits the batch to them by default; with {@link Builder#deferCommit} the caller does,
 * once per batch, so that recomputation, accumulation and skipping a bad batch are right.
 *
 * <p>{@link #infer} may be called by any thread, training calls by one at a time.
 */
public final class BatchNorm implements AutoCloseable {
  private final Backend backend;
  private final long channels;
  private final DType type;
  private final double eps;
  private final Activation activation;
  private final boolean withResidual;
  private final boolean deferCommit;
  private final Affine affine;
  private final Affine gradients;
  private final Running running;
  private final List<Running> runningList;
  private final List<Tensor> owned = new ArrayList<>();
  private final boolean ownsRunning;
  private final OneThread training;
  private boolean frozen;

  private BatchNorm(Builder b) {
    backend = b.memory.backend();
    channels = b.channels;
    type = b.parameterType;
    eps = b.eps();
    activation = b.activation;
    withResidual = b.residual;
    deferCommit = b.deferCommit;
    Tensor gamma = b.scale ? own(b.memory.empty(Shape.of(channels), type)) : null;
    Tensor beta = b.shift ? own(b.memory.zeros(Shape.of(channels), type)) : null;
    affine = new Affine(gamma, beta);
    gradients =
        new Affine(
            b.scale ? own(b.memory.zeros(Shape.of(channels), type)) : null,
            b.shift ? own(b.memory.zeros(Shape.of(channels), type)) : null);
    running =
        b.cumulative
            ? Running.cumulative(b.memory, channels, b.profile.unbiased())
            : Running.moving(b.memory, channels, b.weightOfNew(), b.profile.unbiased());
    runningList = List.of(running);
    training = new OneThread("training of a layer");
    if (gamma != null) {
      double[] ones = new double[Math.toIntExact(channels)];
      Arrays.fill(ones, 1);
      gamma.copyFrom(ones);
    }
    ownsRunning = true;
  }

  private BatchNorm(BatchNorm of, Running r) {
    backend = of.backend;
    channels = of.channels;
    type = of.type;
    eps = of.eps;
    activation = of.activation;
    withResidual = of.withResidual;
    deferCommit = of.deferCommit;
    affine = of.affine;
    gradients = of.gradients;
    running = r;
    runningList = List.of(r);
    ownsRunning = false;
    frozen = of.frozen;
    training = of.training;
  }

  private Tensor own(Tensor t) {
    owned.add(t);
    return t;
  }

  /** A layer of {@code channels} channels whose tensors lie in {@code m}. */
  public static Builder builder(Memory m, long channels) {
    return new Builder(m, channels);
  }

  /** Number of channels. */
  public long channels() {
    return channels;
  }

  /** Added to the variance before the root. */
  public double eps() {
    return eps;
  }

  /** Whether forward and inference take a residual. */
  public boolean hasResidual() {
    return withResidual;
  }

  /** gamma and beta, each null when switched off. */
  public Affine affine() {
    return affine;
  }

  /** Gradients of gamma and beta, each null when switched off. */
  public Affine gradients() {
    return gradients;
  }

  /** The running statistics. */
  public Running running() {
    return running;
  }

  /**
   * The same layer over other running statistics: settings, gamma, beta and gradients are shared.
   * Training through it commits to {@code r} and leaves this layer's statistics alone, inference
   * uses {@code r}; so population statistics ({@link Running#cumulative}) are taken beside moving
   * averages.
   *
   * @param r statistics of as many channels, of the caller's; closing the result frees nothing
   * @throws IllegalArgumentException when {@code r} has another number of channels
   */
  public BatchNorm withRunning(Running r) {
    Check.present("running statistics", r);
    Check.open(backend, "running mean", r.mean());
    Check.elements("running mean", r.mean(), DType.F64, channels);
    Check.elements("running variance", r.variance(), DType.F64, channels);
    return new BatchNorm(this, r);
  }

  /**
   * Memory for forward and backward of data of one shape and type, taken once.
   *
   * @throws IllegalArgumentException when the shape has other channels than this layer
   */
  public Pass pass(Memory m, Shape s, DType t) {
    if (s.channels() != channels || !t.isFloating() || t.parameter() != type) {
      throw new IllegalArgumentException(
          "data of "
              + s
              + " "
              + t
              + " for a layer of "
              + channels
              + " channels and "
              + type
              + " parameters");
    }
    boolean gate = withResidual && activation == Activation.RELU;
    return new Pass(this, s, t, Saved.empty(m, s, t, gate), Sums.empty(m, channels));
  }

  /** Short form: a fresh pass in the backend's memory, to be closed by the caller. */
  public Pass forward(Tensor x, Tensor y) {
    Pass p = pass(backend, x.shape(), x.dtype());
    try {
      forward(p, x, y);
      return p;
    } catch (RuntimeException | Error e) {
      p.close();
      throw e;
    }
  }

  /** Training forward of a layer without residual. */
  public void forward(Pass p, Tensor x, Tensor y) {
    forward(p, x, null, y);
  }

  /**
   * Training forward: y = f(gamma (x - mean) / sqrt(variance + eps) + beta + residual), by the
   * batch's statistics, or by the running ones while frozen. {@code x} must stay unchanged until
   * backward.
   *
   * @param residual null unless the layer was built with {@link Builder#residual}
   * @throws IllegalArgumentException when shapes, types or overlap forbid it, or there is one value
   *     per channel only
   */
  public void forward(Pass p, Tensor x, Tensor residual, Tensor y) {
    mine(p);
    training.enter();
    try {
      fits(p, x);
      residualMatches(residual);
      if (frozen) {
        Check.open(backend, "y", y);
        Check.apart("y", y, "x", x);
        backend.norm().coefficients(running, affine, eps, p.saved());
        backend.norm().normalize(x, p.saved(), activation, residual, y);
      } else {
        // What comes next in a network reads y at once.
        backend.layerNorm().forward(x, affine, eps, activation, residual, p.saved(), y, true);
      }
      p.fill(x, residual);
      if (!deferCommit && !frozen) {
        p.commit();
        backend.norm().commit(p.savedList(), runningList);
      }
      if (backend.isRecording()) {
        backend.keepFills(p);
      }
    } finally {
      training.leave();
    }
  }

  /** Backward of the last forward into {@code p}, for a layer without residual. */
  public void backward(Pass p, Tensor dy, Tensor dx, Write w) {
    backward(p, p.generation(), dy, dx, null, w);
  }

  /**
   * Backward of one certain forward.
   *
   * @param generation {@link Pass#generation} after that forward
   * @param dx gets the gradient of x; may be dy, or x, which empties the pass; null for none, when
   *     only the gradients of gamma and beta are wanted
   * @param dResidual gets the gradient of the residual, may be dy; null for none
   * @param w whether the gradients of gamma and beta are replaced or added to
   * @throws IllegalStateException when another forward has overwritten the pass, or there was none
   */
  public void backward(Pass p, long generation, Tensor dy, Tensor dx, Tensor dResidual, Write w) {
    mine(p);
    training.enter();
    try {
      if (generation != p.generation()) {
        throw new IllegalStateException(
            "this pass was overwritten: it holds forward "
                + p.generation()
                + ", not "
                + generation
                + "; use a pass of its own for each forward that waits for its backward");
      }
      Tensor x = p.input();
      if (dResidual != null) {
        residualMatches(dResidual);
      }
      if (dx == null) {
        if (dResidual != null) {
          throw new IllegalArgumentException("the gradient of the residual comes with dx: give it");
        }
        backend.norm().gradientSums(dy, x, p.saved(), activation, p.sums());
      } else {
        backend.norm().backward(dy, x, p.saved(), activation, p.sums(), dx, dResidual);
      }
      backend.norm().gradients(p.sums(), gradients, w);
      if (dx != null && dx.sameElements(x)) {
        p.empty();
      }
    } finally {
      training.leave();
    }
  }

  /** Makes y again from what the last forward into {@code p} kept; commits nothing. */
  public void recompute(Pass p, Tensor y) {
    mine(p);
    training.enter();
    try {
      Tensor x = p.input();
      Check.open(backend, "y", y);
      Check.apart("y", y, "x", x);
      backend.norm().normalize(x, p.saved(), activation, p.residual(), y);
    } finally {
      training.leave();
    }
  }

  /**
   * Takes the statistics of the last forward into the running ones; for deferred commits.
   *
   * @throws IllegalStateException when that forward was committed before, or there was none
   */
  public void commit(Pass p) {
    mine(p);
    training.enter();
    try {
      p.input();
      p.commit();
      backend.norm().commit(p.savedList(), runningList);
    } finally {
      training.leave();
    }
  }

  /** Inference by running statistics; y may be x. */
  public void infer(Tensor x, Tensor y) {
    infer(x, null, y);
  }

  /** Inference with a residual, for a layer that was built with one. */
  public void infer(Tensor x, Tensor residual, Tensor y) {
    residualMatches(residual);
    backend.norm().infer(x, running, affine, eps, activation, residual, y);
  }

  /** While on, training normalizes by the running statistics, as constants, and commits nothing. */
  public void freeze(boolean on) {
    frozen = on;
  }

  /** Starts the running statistics anew: mean 0, variance 1, count 0. */
  public void resetRunning() {
    running.reset();
  }

  /** {@code weight} and {@code bias}, those that are switched on. */
  public List<Parameter> parameters() {
    List<Parameter> all = new ArrayList<>();
    if (affine.gamma() != null) {
      all.add(new Parameter("weight", affine.gamma(), gradients.gamma()));
    }
    if (affine.beta() != null) {
      all.add(new Parameter("bias", affine.beta(), gradients.beta()));
    }
    return all;
  }

  /** All that training changes, under {@code p}'s names; the tensors themselves, not copies. */
  public Map<String, Tensor> state(Profile p) {
    Map<String, Tensor> all = new LinkedHashMap<>();
    if (affine.gamma() != null) {
      all.put(p.gammaName(), affine.gamma());
    }
    if (affine.beta() != null) {
      all.put(p.betaName(), affine.beta());
    }
    all.put(p.meanName(), running.mean());
    all.put(p.varianceName(), running.variance());
    if (p.countName() != null) {
      all.put(p.countName(), running.count());
    }
    return all;
  }

  /**
   * Takes over the values of {@code m}, converted to this layer's types, from any backend; nothing
   * is changed when something is missing or does not fit.
   *
   * @throws IllegalArgumentException naming the tensor that is missing, unknown or of another shape
   */
  public void load(Map<String, Tensor> m, Profile p) {
    Map<String, Tensor> mine = state(p);
    for (String name : m.keySet()) {
      if (!mine.containsKey(name)) {
        throw new IllegalArgumentException(
            "unknown tensor " + name + ", expected " + mine.keySet());
      }
    }
    for (Map.Entry<String, Tensor> e : mine.entrySet()) {
      Tensor given = m.get(e.getKey());
      if (given == null) {
        throw new IllegalArgumentException("tensor " + e.getKey() + " is missing");
      }
      given.check();
      boolean integers = !e.getValue().dtype().isFloating();
      if (given.shape().elements() != e.getValue().shape().elements()
          || integers == given.dtype().isFloating()) {
        throw new IllegalArgumentException(
            "tensor " + e.getKey() + " must be like " + e.getValue() + ", not " + given);
      }
    }
    mine.forEach(
        (name, t) -> {
          if (t.dtype().isFloating()) {
            t.copyFrom(m.get(name).toDoubles());
          } else {
            t.copyFrom(m.get(name).toLongs());
          }
        });
  }

  /** Frees the layer's tensors. */
  @Override
  public void close() {
    owned.forEach(Tensor::close);
    if (ownsRunning) {
      running.close();
    }
  }

  OneThread training() {
    return training;
  }

  private void mine(Pass p) {
    if (p.layer() != this) {
      throw new IllegalArgumentException("this pass was made by another layer");
    }
  }

  private void fits(Pass p, Tensor x) {
    if (!x.shape().equals(p.shape()) || x.dtype() != p.dtype()) {
      throw new IllegalArgumentException(
          "x " + x + " for a pass of " + p.shape() + " " + p.dtype() + ": must agree");
    }
  }

  private void residualMatches(Tensor residual) {
    if ((residual != null) != withResidual) {
      throw new IllegalArgumentException(
          withResidual
              ? "this layer was built with a residual: give one"
              : "this layer was built without residual: build it with residual(true)");
    }
  }

  /** Settings of a {@link BatchNorm}; the defaults are PyTorch's. */
  public static final class Builder {
    private final Memory memory;
    private final long channels;
    private DType parameterType = DType.F32;
    private Profile profile = Profile.PYTORCH;
    private Double eps;
    private Double momentum;
    private boolean cumulative;
    private Activation activation = Activation.NONE;
    private boolean residual;
    private boolean scale = true;
    private boolean shift = true;
    private boolean deferCommit;

    private Builder(Memory memory, long channels) {
      if (channels < 1 || channels > Integer.MAX_VALUE - 8) {
        throw new IllegalArgumentException("channels must be at least 1, not " + channels);
      }
      this.memory = memory;
      this.channels = channels;
    }

    /** Takes eps, momentum and the kind of running variance over from another library. */
    public Builder profile(Profile p) {
      Check.present("profile", p);
      profile = p;
      return this;
    }

    /** Added to the variance before the root; finite and not negative. */
    public Builder eps(double e) {
      Check.eps(e);
      eps = e;
      return this;
    }

    /** Momentum in the meaning of the profile (PyTorch's by default: weight of the new value). */
    public Builder momentum(double m) {
      if (!(m >= 0 && m <= 1)) {
        throw new IllegalArgumentException("momentum must be in 0..1, not " + m);
      }
      momentum = m;
      return this;
    }

    /** Running statistics are the average of all batches, as the paper's Alg. 2 wants them. */
    public Builder cumulative() {
      cumulative = true;
      return this;
    }

    /** Applied to the result in the same pass. */
    public Builder activation(Activation a) {
      Check.present("activation", a);
      activation = a;
      return this;
    }

    /** Whether a residual is added before the activation. */
    public Builder residual(boolean on) {
      residual = on;
      return this;
    }

    /** Whether there is a learned gamma. */
    public Builder scale(boolean on) {
      scale = on;
      return this;
    }

    /** Whether there is a learned beta. */
    public Builder shift(boolean on) {
      shift = on;
      return this;
    }

    /** Leaves it to the caller to {@link BatchNorm#commit} each batch. */
    public Builder deferCommit(boolean on) {
      deferCommit = on;
      return this;
    }

    /** The type of the data; parameters are F64 for F64 data and F32 for all others. */
    public Builder dtype(DType t) {
      if (!t.isFloating()) {
        throw new IllegalArgumentException("cannot normalize " + t);
      }
      parameterType = t.parameter();
      return this;
    }

    private double eps() {
      return eps != null ? eps : profile.eps();
    }

    private double weightOfNew() {
      return profile.weightOfNew(momentum != null ? momentum : profile.momentum());
    }

    /**
     * Makes the layer: gamma 1, beta 0, running mean 0, running variance 1.
     *
     * @throws IllegalArgumentException when both a momentum and the cumulative average were asked
     *     for
     */
    public BatchNorm build() {
      if (cumulative && momentum != null) {
        throw new IllegalArgumentException(
            "momentum " + momentum + " and the cumulative average exclude each other");
      }
      return new BatchNorm(this);
    }
  }
}
