package org.fusednorm;

import java.util.List;

/**
 * Whether a backend can be opened here, what it is made of, and what to do about what is missing.
 *
 * @param name name of the backend
 * @param available whether {@link Backends#open} will work
 * @param detail what was found, in one line for people; may be empty
 * @param cause why it is unavailable or runs below its best, empty when nothing is missing
 * @param cure what a user can do about the cause, empty when nothing is missing
 * @param parts what it is made of: libraries, instruction sets, devices; may be empty
 */
public record Availability(
    String name,
    boolean available,
    String detail,
    String cause,
    String cure,
    List<Availability.Part> parts) {

  /**
   * A part of a backend, for example the library of its matrix products.
   *
   * @param name what the part is for
   * @param value what was found: version, threads, memory; empty when nothing was
   * @param cause why the part is missing or below its best, empty when nothing is missing
   * @param cure what a user can do about the cause; empty when there is nothing
   */
  public record Part(String name, String value, String cause, String cure) {
    /** A part with nothing missing. */
    public static Part of(String name, String value) {
      return new Part(name, value, "", "");
    }

    /** A part that is missing; the backend goes on without it. */
    public static Part missing(String name, String cause, String cure) {
      return new Part(name, "", cause, cure);
    }
  }

  /** Copies the list. */
  public Availability {
    parts = List.copyOf(parts);
  }

  /** A backend of which no parts are told. */
  public Availability(String name, boolean available, String detail, String cause, String cure) {
    this(name, available, detail, cause, cure, List.of());
  }

  /** An available backend with nothing missing. */
  public static Availability available(String name, String detail) {
    return new Availability(name, true, detail, "", "");
  }

  /** A backend that cannot be opened. */
  public static Availability unavailable(String name, String cause, String cure) {
    return new Availability(name, false, "", cause, cure);
  }

  /** The same with these parts. */
  public Availability with(List<Part> parts) {
    return new Availability(name, available, detail, cause, cure, parts);
  }
}
