package org.fusednorm;

import java.util.List;

/**
 * What one forward of a {@link BatchNorm} leaves for its backward. Takes all its memory when made
 * ({@link BatchNorm#pass}), so that a training step takes none. Serves its layer's thread: see
 * {@link BatchNorm}.
 */
public final class Pass implements AutoCloseable {
  private final BatchNorm layer;
  private final Shape shape;
  private final DType dtype;
  private final Saved saved;
  private final List<Saved> savedList;
  private final Sums sums;
  private long generation;
  private long committed;
  private Tensor x;
  private Tensor residual;

  Pass(BatchNorm layer, Shape shape, DType dtype, Saved saved, Sums sums) {
    this.layer = layer;
    this.shape = shape;
    this.dtype = dtype;
    this.saved = saved;
    savedList = List.of(saved);
    this.sums = sums;
  }

  /** Shape of the data that this pass is for. */
  public Shape shape() {
    return shape;
  }

  /** Type of the data that this pass is for. */
  public DType dtype() {
    return dtype;
  }

  /** What the last forward used: statistics and coefficients. */
  public Saved saved() {
    return saved;
  }

  /** The sums of the last backward, in F64. */
  public Sums sums() {
    return sums;
  }

  /** Counts the forwards into this pass; a backward may name the one that it belongs to. */
  public long generation() {
    return generation;
  }

  List<Saved> savedList() {
    return savedList;
  }

  BatchNorm layer() {
    return layer;
  }

  /** A replay has run the forward again. */
  void refill() {
    generation++;
  }

  /** Marks the last forward as committed, which it can be once. */
  void commit() {
    if (committed == generation) {
      throw new IllegalStateException(
          "forward " + generation + " of this pass is committed already, by itself or by commit");
    }
    committed = generation;
  }

  void fill(Tensor newX, Tensor newResidual) {
    x = newX;
    residual = newResidual;
    generation++;
  }

  void empty() {
    x = null;
    residual = null;
  }

  /** The input of the last forward. */
  Tensor input() {
    if (x == null) {
      throw new IllegalStateException(
          generation == 0
              ? "this pass holds no forward: call forward first"
              : "this pass was emptied: its backward wrote dx over x");
    }
    return x;
  }

  Tensor residual() {
    return residual;
  }

  @Override
  public void close() {
    empty();
    saved.close();
    sums.close();
  }
}
