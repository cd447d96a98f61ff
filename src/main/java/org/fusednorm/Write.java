package org.fusednorm;

/** Whether a result replaces or is added to what its destination holds. */
public enum Write {
  /** Replace. */
  SET,
  /** Add: gradient accumulation over several passes. */
  ADD
}
