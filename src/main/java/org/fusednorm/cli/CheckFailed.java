package org.fusednorm.cli;

/** A check ran to its end and did not hold. Ends the program with code 1. */
public final class CheckFailed extends RuntimeException {
  private static final long serialVersionUID = 1;

  /**
   * @param message one line: what was checked, what was seen, what was required
   */
  public CheckFailed(String message) {
    super(message);
  }
}
