package org.fusednorm;

/** Backends over engines that no provider offers. */
public final class TestBackends {
  private TestBackends() {}

  /** The facade over {@code e}. */
  public static Backend over(Engine e) {
    return new Backend(e);
  }
}
