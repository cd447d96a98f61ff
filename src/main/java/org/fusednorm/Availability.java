package org.fusednorm;

/**
 * Whether a backend can be opened here, and what to do when it cannot.
 *
 * @param name name of the backend
 * @param available whether {@link Backends#open} will work
 * @param detail what was found: versions, instruction set, devices; may be empty
 * @param cause why it is unavailable or runs below its best, empty when nothing is missing
 * @param cure what a user can do about the cause, empty when nothing is missing
 */
public record Availability(
    String name, boolean available, String detail, String cause, String cure) {

  /** An available backend with nothing missing. */
  public static Availability available(String name, String detail) {
    return new Availability(name, true, detail, "", "");
  }

  /** A backend that cannot be opened. */
  public static Availability unavailable(String name, String cause, String cure) {
    return new Availability(name, false, "", cause, cure);
  }
}
