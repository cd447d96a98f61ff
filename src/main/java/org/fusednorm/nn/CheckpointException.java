package org.fusednorm.nn;

import java.io.IOException;

/**
 * A checkpoint that cannot be used: damaged, or not what its reader requires. The message names the
 * file, the tensor where there is one, and the offending value.
 */
public final class CheckpointException extends IOException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes one.
   *
   * @param message names file, tensor and value
   */
  public CheckpointException(String message) {
    super(message);
  }

  /**
   * Makes one that keeps its cause.
   *
   * @param message names file, tensor and value
   * @param cause what the parser said
   */
  public CheckpointException(String message, Throwable cause) {
    super(message, cause);
  }
}
