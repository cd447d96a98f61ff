package org.fusednorm.testing;

import static org.junit.jupiter.api.Assertions.fail;

import java.util.Arrays;
import org.junit.jupiter.api.Assumptions;

/**
 * Skips what this machine cannot run and says why; {@code -Dfusednorm.require=native,cuda} turns
 * the skips for these parts into failures.
 */
public final class Required {
  private Required() {}

  /** Goes on where the part is available; otherwise skips or fails with the cause. */
  public static void assume(String part, boolean available, String cause) {
    if (available) {
      return;
    }
    String message = part + " is missing: " + cause;
    if (isRequired(part)) {
      fail(message);
    }
    Assumptions.abort(message);
  }

  /** Whether {@code fusednorm.require} names this part. */
  public static boolean isRequired(String part) {
    return Arrays.asList(System.getProperty("fusednorm.require", "").split(",")).contains(part);
  }
}
