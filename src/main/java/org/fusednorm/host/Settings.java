package org.fusednorm.host;

import java.util.Locale;

/**
 * Settings by system property, or else by environment variable: {@code fusednorm.native} is also
 * {@code FUSEDNORM_NATIVE}, and a hyphen is an underscore there. Internal.
 */
public final class Settings {
  private Settings() {}

  /** The value of a setting without surrounding blanks, or null where it is unset or blank. */
  public static String get(String property) {
    String value = System.getProperty(property);
    if (value == null || value.isBlank()) {
      value = System.getenv(variable(property));
    }
    return value == null || value.isBlank() ? null : value.strip();
  }

  /**
   * Reads an off switch: unset or {@code on} leaves the part on.
   *
   * @return null where the part is on; otherwise the cause to report
   */
  public static Unavailable offSwitch(String property) {
    String value = get(property);
    if (value == null || value.equals("on")) {
      return null;
    }
    String given = "-D" + property + "=" + value + " (or " + variable(property) + ")";
    if (value.equals("off")) {
      return new Unavailable("switched off by " + given, "remove the switch or set it to on");
    }
    return new Unavailable(given + " is neither on nor off", "set it to on or off");
  }

  private static String variable(String property) {
    return property.toUpperCase(Locale.ROOT).replace('.', '_').replace('-', '_');
  }
}
