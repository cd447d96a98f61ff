package org.fusednorm.nn;

import java.util.List;
import java.util.Map;
import org.fusednorm.BatchNorm;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Pass;
import org.fusednorm.Profile;
import org.fusednorm.Running;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * A {@link BatchNorm} as a layer of a network; an activation of the builder is fused in.
 *
 * <p>Running statistics are taken at the end of a training forward; for all layers of a {@link
 * Sequential} in one launch.
 */
public final class Normalize implements Layer {
  private final BatchNorm norm;
  private final Running ownRunning;

  /**
   * A layer by these settings. It does the commits itself, whatever the settings say of them.
   *
   * @param settings without residual
   * @throws IllegalArgumentException for settings with one: a layer of a sequence has one input
   */
  public Normalize(BatchNorm.Builder settings) {
    this(settings.deferCommit(true).build(), null);
    if (norm.hasResidual()) {
      norm.close();
      throw new IllegalArgumentException("a layer of a sequence takes no residual");
    }
  }

  private Normalize(BatchNorm norm, Running ownRunning) {
    this.norm = norm;
    this.ownRunning = ownRunning;
  }

  /** The layer of the core: its affine map, running statistics and {@link BatchNorm#freeze}. */
  public BatchNorm batchNorm() {
    return norm;
  }

  @Override
  public Bound bind(Tensor x, Tensor dx, Use use, Memory m) {
    Commits own = new Commits();
    return bind(x, dx, use, m, own, own);
  }

  /**
   * Binds as part of a network.
   *
   * @param commits what the outermost layer commits
   * @param own the same, when this is the outermost layer, else null
   */
  Bound bind(Tensor x, Tensor dx, Use use, Memory m, Commits commits, Commits own) {
    if (x.shape().channels() != norm.channels()) {
      throw new IllegalArgumentException(
          this + " takes " + norm.channels() + " channels, not " + x);
    }
    CheckedBound.checkGradient(toString(), use, x, dx);
    Pass pass = use == Use.TRAIN ? norm.pass(m, x.shape(), x.dtype()) : null;
    if (pass != null) {
      commits.add(pass.saved(), norm.running());
    }
    return new BoundNormalize(x, dx, use, m.empty(x.shape(), x.dtype()), pass, own);
  }

  @Override
  public boolean gradientInPlace() {
    return true;
  }

  @Override
  public List<Parameter> parameters() {
    return norm.parameters();
  }

  @Override
  public Map<String, Tensor> state() {
    return norm.state(Profile.PYTORCH);
  }

  @Override
  public Layer population(Memory m) {
    Running average = Running.cumulative(m, norm.channels(), true);
    return new Normalize(norm.withRunning(average), average);
  }

  @Override
  public void resetStatistics() {
    norm.resetRunning();
  }

  @Override
  public void close() {
    norm.close();
    if (ownRunning != null) {
      ownRunning.close();
    }
  }

  /** For example {@code Normalize(100)}. */
  @Override
  public String toString() {
    return "Normalize(" + norm.channels() + ")";
  }

  private final class BoundNormalize extends CheckedBound {
    private final Tensor x;
    private final Pass pass;
    private final Commits own;

    BoundNormalize(Tensor x, Tensor dx, Use use, Tensor y, Pass pass, Commits own) {
      super(Normalize.this.toString(), use, dx, y);
      this.x = x;
      this.pass = pass;
      this.own = own;
    }

    @Override
    void compute() {
      if (pass == null) {
        norm.infer(x, y());
        return;
      }
      norm.forward(pass, x, y());
      if (own != null) {
        own.run(x.backend());
      }
    }

    @Override
    void differentiate(Tensor dy, Write w) {
      norm.backward(pass, dy, dx(), w);
    }

    @Override
    public void close() {
      super.close();
      if (pass != null) {
        pass.close();
      }
    }
  }
}
