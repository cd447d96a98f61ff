package org.fusednorm.cli;

import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options that every command has, as a mixin. */
public final class CommonOptions {
  /** The property that the engines read; an option is its short form. */
  private static final String THREADS = "fusednorm.threads";

  @Spec(Spec.Target.MIXEE)
  private CommandSpec command;

  @Option(
      names = "--backend",
      paramLabel = "NAME",
      description =
          "Where to compute: cuda, cuda:1, cpu or reference. Without it the best one that is"
              + " available; 'fusednorm info' tells which and why.")
  private String backend;

  @Option(
      names = "--json",
      description = "Print the result as one JSON document on standard output and nothing else.")
  private boolean json;

  CommonOptions() {}

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "Threads of the CPU backend; without it one per core.")
  private void threads(int threads) {
    if (threads < 1) {
      throw new ParameterException(
          command.commandLine(), "--threads must be at least 1, not " + threads);
    }
    System.setProperty(THREADS, Integer.toString(threads));
  }

  /** The backend asked for, as {@code Backends.open} takes it, or null for the best available. */
  String backend() {
    return backend;
  }

  /**
   * Opens the backend asked for, or the best available.
   *
   * @throws UserError where there is none of that name, or it is missing here, with its cause
   */
  Backend open() {
    return open(backend);
  }

  /** As {@link #open()}, for a backend by name; null for the best available. */
  static Backend open(String spec) {
    try {
      // Not best(), which logs its choice: a command tells where it computes, or info does.
      return Backends.open(spec == null ? Backends.choice().spec() : spec);
    } catch (IllegalArgumentException | BackendException e) {
      throw new UserError(e.getMessage(), e);
    }
  }

  /** Whether the result is to be printed as JSON. */
  boolean json() {
    return json;
  }
}
