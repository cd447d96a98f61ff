package org.fusednorm.cli;

/** Bad usage or bad input: something that the user can put right. Ends the program with code 2. */
public final class UserError extends RuntimeException {
  private static final long serialVersionUID = 1;

  /**
   * @param message one line that names the offending value and, where there is one, the cure
   */
  public UserError(String message) {
    super(message);
  }

  /**
   * @param message one line that names the offending value and, where there is one, the cure
   * @param cause shown under {@code --trace} only
   */
  public UserError(String message, Throwable cause) {
    super(message, cause);
  }
}
