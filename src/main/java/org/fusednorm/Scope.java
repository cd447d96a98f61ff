package org.fusednorm;

import java.util.ArrayList;
import java.util.List;

/**
 * An arena for temporaries: tensors are taken one after another from large pieces of memory, and
 * one {@link #reset} ends all of them. The same sequence of requests after a reset gets the same
 * addresses and takes no new memory. One thread at a time.
 */
public final class Scope implements Memory, AutoCloseable {
  private static final long ALIGNMENT = 64;
  private static final long FIRST_BLOCK = 1 << 20;

  /** The largest piece that is taken before anyone asked for so much. */
  private static final long MOST_AHEAD = 64 << 20;

  private final Backend backend;
  private final Lifetime lifetime;
  private final List<Tensor> blocks = new ArrayList<>();
  private Lifetime generation;
  private int block;
  private long used;

  Scope(Backend backend) {
    backend.check();
    this.backend = backend;
    lifetime = new Lifetime(backend.lifetime());
    generation = new Lifetime(lifetime);
  }

  @Override
  public Backend backend() {
    return backend;
  }

  @Override
  public Tensor empty(Shape s, DType t) {
    lifetime.check(this);
    long bytes = s.bytes(t);
    while (block < blocks.size() && used + bytes > blocks.get(block).bytes()) {
      block++;
      used = 0;
    }
    if (block == blocks.size()) {
      long last = blocks.isEmpty() ? FIRST_BLOCK / 2 : blocks.get(block - 1).bytes();
      long next = Math.max(Math.min(2 * last, MOST_AHEAD), bytes);
      blocks.add(backend.empty(Shape.of(next), DType.U8));
    }
    Tensor memory = blocks.get(block);
    Tensor made =
        new Tensor(backend, memory.storage(), used, s, t, new Lifetime(generation), null, memory);
    used = Math.min(memory.bytes(), (used + bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    return made;
  }

  /**
   * Ends every tensor that was made from this scope; their memory serves the next ones.
   *
   * @throws IllegalStateException while a {@link Recording} uses one of them
   */
  public void reset() {
    lifetime.check(this);
    generation.close("scope");
    generation = new Lifetime(lifetime);
    block = 0;
    used = 0;
  }

  /** Ends every tensor of this scope and frees the memory. */
  @Override
  public void close() {
    if (lifetime.close(this)) {
      for (Tensor b : blocks) {
        b.close();
      }
      blocks.clear();
    }
  }

  /** For example {@code scope on cpu:0}. */
  @Override
  public String toString() {
    return "scope on " + backend.device();
  }
}
