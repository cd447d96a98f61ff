package org.fusednorm.nn;

import java.util.List;
import java.util.Map;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/**
 * A bound {@link Sequential}. Every child's output stays readable until the next forward; gradients
 * between children share memory where a child works in place, so after a backward only {@link
 * #dx()} and the parameters' gradients are meaningful.
 */
public final class BoundSequential extends CheckedBound {
  private final Map<String, Bound> children;
  private final Bound[] order;
  private final List<Tensor> gradients;
  private final Commits commits;

  BoundSequential(
      Use use, Tensor dx, Map<String, Bound> children, List<Tensor> gradients, Commits commits) {
    super("network", use, dx, last(children.values().toArray(Bound[]::new)).y());
    this.children = children;
    order = children.values().toArray(Bound[]::new);
    this.gradients = gradients;
    this.commits = commits;
  }

  private static Bound last(Bound[] all) {
    return all[all.length - 1];
  }

  /**
   * A child, for example to read what goes into an activation: {@code child("norm3").y()}.
   *
   * @throws IllegalArgumentException when there is no such child, naming those that are
   */
  public Bound child(String name) {
    Bound b = children.get(name);
    if (b == null) {
      throw new IllegalArgumentException(
          "there is no layer \"" + name + "\", but " + children.keySet());
    }
    return b;
  }

  @Override
  void compute() {
    for (Bound b : order) {
      b.forward();
    }
    if (commits != null) {
      commits.run(y().backend());
    }
  }

  @Override
  void differentiate(Tensor dy, Write w) {
    Tensor gradient = dy;
    for (int i = order.length - 1; i >= 0; i--) {
      order[i].backward(gradient, w);
      gradient = order[i].dx();
    }
  }

  @Override
  public void close() {
    for (Bound b : order) {
      b.close();
    }
    gradients.forEach(Tensor::close);
  }
}
