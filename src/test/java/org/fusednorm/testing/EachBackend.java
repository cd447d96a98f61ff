package org.fusednorm.testing;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.Availability;
import org.fusednorm.Backends;

/**
 * Names of the backends that a contract must hold on: all that are available here, or those that
 * {@code fusednorm.test.backends} names.
 */
public final class EachBackend {
  private EachBackend() {}

  /** For {@code @MethodSource}. */
  public static Stream<String> names() {
    return list().stream();
  }

  /** Those whose memory is the host's and whose verbs are done when they return; may be none. */
  public static Stream<String> onHost() {
    return names().filter(name -> !name.equals("cuda"));
  }

  /** Names, best first; fails when a backend that {@code fusednorm.require} names is missing. */
  public static List<String> list() {
    for (Availability a : Backends.availability()) {
      if (!a.available() && Required.isRequired(a.name())) {
        throw new AssertionError(a.name() + " is required: " + a.cause());
      }
    }
    String only = System.getProperty("fusednorm.test.backends");
    if (only != null) {
      return List.of(only.split(","));
    }
    return Backends.availability().stream()
        .filter(Availability::available)
        .map(Availability::name)
        .toList();
  }
}
