package org.fusednorm.nn;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Tensor;

/**
 * Layers one after another, each under a name: {@code dense1} makes {@code dense1.weight}. A
 * sequential may be a child of another.
 */
public final class Sequential implements Layer {
  private final Map<String, Layer> children;
  private final List<Layer> owned;

  private Sequential(Map<String, Layer> children, List<Layer> owned) {
    this.children = children;
    this.owned = owned;
  }

  /** Starts a network. */
  public static Builder builder() {
    return new Builder();
  }

  /** The children in order. */
  public Map<String, Layer> children() {
    return children;
  }

  @Override
  public BoundSequential bind(Tensor x, Use use, Memory m) {
    return bind(x, null, use, m);
  }

  @Override
  public BoundSequential bind(Tensor x, Tensor dx, Use use, Memory m) {
    Commits own = new Commits();
    return bind(x, dx, use, m, own, own);
  }

  private BoundSequential bind(
      Tensor x, Tensor dx, Use use, Memory m, Commits commits, Commits own) {
    CheckedBound.checkGradient("network", use, x, dx);
    Map<String, Bound> bound = new LinkedHashMap<>();
    List<Tensor> gradients = new ArrayList<>();
    try {
      Tensor in = x;
      Tensor gradient = dx;
      Layer before = null;
      for (Map.Entry<String, Layer> e : children.entrySet()) {
        Layer layer = e.getValue();
        if (use == Use.TRAIN && before != null && !(before.gradientInPlace() && gradient != null)) {
          gradient = m.empty(in.shape(), in.dtype());
          gradients.add(gradient);
        }
        Bound b = bind(e.getKey(), layer, in, gradient, use, m, commits);
        bound.put(e.getKey(), b);
        in = b.y();
        before = layer;
      }
    } catch (RuntimeException | Error e) {
      bound.values().forEach(Bound::close);
      gradients.forEach(Tensor::close);
      throw e;
    }
    return new BoundSequential(use, dx, bound, gradients, own);
  }

  private static Bound bind(
      String name, Layer layer, Tensor x, Tensor dx, Use use, Memory m, Commits commits) {
    try {
      if (layer instanceof Normalize n) {
        return n.bind(x, dx, use, m, commits, null);
      }
      if (layer instanceof Sequential s) {
        return s.bind(x, dx, use, m, commits, null);
      }
      return layer.bind(x, dx, use, m);
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(name + ": " + e.getMessage(), e);
    }
  }

  @Override
  public List<Parameter> parameters() {
    List<Parameter> all = new ArrayList<>();
    children.forEach(
        (name, layer) -> {
          for (Parameter p : layer.parameters()) {
            all.add(new Parameter(name + "." + p.name(), p.value(), p.gradient()));
          }
        });
    return all;
  }

  @Override
  public Map<String, Tensor> state() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    children.forEach(
        (name, layer) -> layer.state().forEach((of, tensor) -> all.put(name + "." + of, tensor)));
    return all;
  }

  @Override
  public Sequential population(Memory m) {
    Map<String, Layer> views = new LinkedHashMap<>();
    List<Layer> made = new ArrayList<>();
    children.forEach(
        (name, layer) -> {
          Layer view = layer.population(m);
          views.put(name, view);
          if (view != layer) {
            made.add(view);
          }
        });
    return new Sequential(views, made);
  }

  @Override
  public void resetStatistics() {
    children.values().forEach(Layer::resetStatistics);
  }

  /** Closes the children. */
  @Override
  public void close() {
    owned.forEach(Layer::close);
  }

  /** The layers of a {@link Sequential}, in order. */
  public static final class Builder {
    private final Map<String, Layer> children = new LinkedHashMap<>();

    private Builder() {}

    /**
     * Adds a layer, which will be closed with the network.
     *
     * @throws IllegalArgumentException for a name that is taken, empty or contains a dot
     */
    public Builder add(String name, Layer layer) {
      if (name.isEmpty() || name.indexOf('.') >= 0) {
        throw new IllegalArgumentException("\"" + name + "\" cannot name a layer: empty or dotted");
      }
      if (children.putIfAbsent(name, layer) != null) {
        throw new IllegalArgumentException("there is a layer \"" + name + "\" already");
      }
      return this;
    }

    /** Makes the network. */
    public Sequential build() {
      if (children.isEmpty()) {
        throw new IllegalArgumentException("a network needs at least one layer");
      }
      Map<String, Layer> all = java.util.Collections.unmodifiableMap(new LinkedHashMap<>(children));
      return new Sequential(all, List.copyOf(all.values()));
    }
  }
}
