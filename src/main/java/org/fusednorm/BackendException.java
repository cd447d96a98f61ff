package org.fusednorm;

/**
 * A device, driver or native library failed. The text names the call, its arguments and the cause,
 * for example {@code cuMemAlloc(3211264 bytes): CUDA_ERROR_OUT_OF_MEMORY (2)}.
 */
public class BackendException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** With a text that names the call and its cause. */
  public BackendException(String message) {
    super(message);
  }

  /** With the failure below it. */
  public BackendException(String message, Throwable cause) {
    super(message, cause);
  }
}
