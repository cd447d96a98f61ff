package org.fusednorm.host;

import java.util.Objects;

/**
 * Why an optional part (the JNI library, CUDA) is missing in this JVM. Internal.
 *
 * @param cause what is missing, in one sentence that names the place where it was looked for
 * @param cure what the user can do about it, in one sentence
 * @param thrown the error behind it, or null where there was none
 */
public record Unavailable(String cause, String cure, Throwable thrown) {
  /** Checks that there is something to tell the user. */
  public Unavailable {
    Objects.requireNonNull(cause, "cause");
    Objects.requireNonNull(cure, "cure");
  }

  /** A cause with no error behind it. */
  public Unavailable(String cause, String cure) {
    this(cause, cure, null);
  }
}
