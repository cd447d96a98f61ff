package org.fusednorm;

/** For tests of an engine's inner parts: a backend over an engine that no provider would make. */
public final class BackendOf {
  private BackendOf() {}

  /** The facade over {@code e}, which it closes with itself. */
  public static Backend engine(Engine e) {
    return new Backend(e);
  }
}
