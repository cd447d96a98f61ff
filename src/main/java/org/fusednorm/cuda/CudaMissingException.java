package org.fusednorm.cuda;

import org.fusednorm.host.Unavailable;

/** A step on the way to the GPU failed. */
final class CudaMissingException extends Exception {
  private static final long serialVersionUID = 1;

  private final transient Unavailable missing;

  CudaMissingException(String cause, String cure) {
    this(new Unavailable(cause, cure));
  }

  CudaMissingException(String cause, String cure, Throwable thrown) {
    this(new Unavailable(cause, cure, thrown));
  }

  CudaMissingException(Unavailable missing) {
    super(missing.cause(), missing.thrown());
    this.missing = missing;
  }

  Unavailable missing() {
    return missing;
  }
}
