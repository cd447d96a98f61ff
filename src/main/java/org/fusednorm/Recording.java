package org.fusednorm;

import java.util.ArrayList;
import java.util.List;

/**
 * A step that can be run again without its Java code: the list of its launches, on the GPU a CUDA
 * graph. Replays see what the tensors hold then. Made by {@link Backend#record}. One thread at a
 * time.
 *
 * <p>The tensors that it uses cannot be closed before it is.
 */
public final class Recording implements AutoCloseable {
  private static final String HOST = "host";

  private final Backend backend;
  private final Thread thread;
  private final List<String> names = new ArrayList<>();
  private final List<Runnable> launches = new ArrayList<>();
  private final List<Tensor> pinned = new ArrayList<>();
  private final List<Pass> passes = new ArrayList<>();

  /**
   * What a replay does: a launch, a function of the host or a graph of all launches between two
   * such functions. Those stay outside of graphs, because JCuda keeps a function for one call only.
   */
  private final List<Part> parts = new ArrayList<>();

  private final Lifetime lifetime;

  private record Part(Runnable launch, boolean host, Engine.Graph graph) {}

  Recording(Backend backend, Thread thread) {
    this.backend = backend;
    this.thread = thread;
    lifetime = new Lifetime(backend.lifetime());
  }

  Thread thread() {
    return thread;
  }

  /** A function of the host: it runs while memory may be freed, because it may not touch any. */
  void addHost(Runnable launch) {
    names.add(HOST);
    launches.add(launch);
  }

  /** Each replay is one more forward into {@code p}. */
  void fills(Pass p) {
    passes.add(p);
  }

  void add(String name, Runnable launch, Tensor... uses) {
    names.add(name);
    launches.add(launch);
    for (Tensor t : uses) {
      if (t != null) {
        t.lifetime().pin(t);
        pinned.add(t);
      }
    }
  }

  /** Ends the recording: has the engine make graphs of it, if it can. */
  void capture() {
    long stamp = backend.enter();
    try {
      for (int from = 0, to; from < names.size(); from = to) {
        to = from + 1;
        if (isHost(from)) {
          parts.add(new Part(launches.get(from), true, null));
          continue;
        }
        while (to < names.size() && !isHost(to)) {
          to++;
        }
        List<Runnable> between = launches.subList(from, to);
        Engine.Graph graph = backend.engine().capture(between);
        if (graph != null) {
          parts.add(new Part(graph::launch, false, graph));
        } else {
          between.forEach(launch -> parts.add(new Part(launch, false, null)));
        }
      }
    } finally {
      backend.leave(stamp);
    }
  }

  private boolean isHost(int i) {
    return names.get(i).equals(HOST);
  }

  /** Names of the launches in order, for example {@code matmul}. */
  public List<String> launches() {
    return List.copyOf(names);
  }

  /** Runs the step again. */
  public void replay() {
    start();
    for (int i = 0; i < parts.size(); i++) {
      Part p = parts.get(i);
      run(p.launch(), p.host());
    }
  }

  /**
   * Runs the step again and measures it: the same results, with a wait after each launch.
   *
   * @param nanos as long as {@link #launches}; the time of each launch is added to it
   */
  public void replay(long[] nanos) {
    if (nanos.length != launches.size()) {
      throw new IllegalArgumentException(
          "room for " + nanos.length + " times, but " + launches.size() + " launches");
    }
    start();
    long before = System.nanoTime();
    for (int i = 0; i < launches.size(); i++) {
      run(launches.get(i), isHost(i));
      backend.synchronize();
      long after = System.nanoTime();
      nanos[i] += after - before;
      before = after;
    }
  }

  private void start() {
    lifetime.check(this);
    backend.noHostAccessWhileRecording("replay");
    for (int i = 0; i < passes.size(); i++) {
      passes.get(i).refill();
    }
  }

  private void run(Runnable launch, boolean host) {
    if (host) {
      launch.run();
      return;
    }
    long stamp = backend.enter();
    try {
      // Another thread may have closed this meanwhile, and then tensors.
      lifetime.check(this);
      launch.run();
    } finally {
      backend.leave(stamp);
    }
  }

  /** Gives the tensors free to be closed. */
  @Override
  public void close() {
    if (lifetime.close(this)) {
      for (Tensor t : pinned) {
        t.lifetime().unpin();
      }
      pinned.clear();
      launches.clear();
      backend.forget(this);
      closeGraphs();
    }
  }

  private void closeGraphs() {
    RuntimeException first = null;
    long stamp = backend.enter();
    try {
      for (Part p : parts) {
        try {
          if (p.graph() != null) {
            p.graph().close();
          }
        } catch (RuntimeException e) {
          first = first == null ? e : first;
        }
      }
    } finally {
      parts.clear();
      backend.leave(stamp);
    }
    if (first != null) {
      throw first;
    }
  }

  /** For example {@code recording on cpu:0}. */
  @Override
  public String toString() {
    return "recording on " + backend.device();
  }
}
