package org.fusednorm.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.List;
import org.fusednorm.BackendException;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/** Turns what a command threw into one line on standard error and an exit code. */
final class Errors {
  /** The command did what it was asked to. */
  static final int OK = 0;

  /** A check did not hold. */
  static final int CHECK_FAILED = 1;

  /** Bad usage, bad input, or a file that cannot be read or written. */
  static final int USER_ERROR = 2;

  /** A defect of this program, or a device that failed under it; EX_SOFTWARE of sysexits.h. */
  static final int INTERNAL = 70;

  private Errors() {}

  /** Reports arguments that do not parse. */
  static int usage(ParameterException thrown, boolean trace) {
    CommandLine command = thrown.getCommandLine();
    StringBuilder line = new StringBuilder(thrown.getMessage());
    if (thrown instanceof UnmatchedArgumentException unmatched) {
      List<String> suggestions = unmatched.getSuggestions();
      if (!suggestions.isEmpty()) {
        line.append("; did you mean ").append(String.join(" or ", suggestions)).append('?');
      }
    }
    line.append(" (see ").append(command.getCommandSpec().qualifiedName()).append(" --help)");
    return report(command.getErr(), line.toString(), thrown, trace, USER_ERROR);
  }

  /** Reports what a command threw while it ran. */
  static int thrown(Throwable thrown, PrintWriter err, boolean trace) {
    if (thrown instanceof UserError) {
      return report(err, thrown.getMessage(), thrown, trace, USER_ERROR);
    }
    if (thrown instanceof CheckFailed) {
      return report(err, thrown.getMessage(), thrown, trace, CHECK_FAILED);
    }
    if (thrown instanceof BackendException) {
      return report(err, thrown.getMessage(), thrown, trace, INTERNAL);
    }
    if (thrown instanceof UncheckedIOException) {
      return thrown(thrown.getCause(), err, trace);
    }
    if (thrown instanceof IOException failure) {
      return report(err, describe(failure), thrown, trace, USER_ERROR);
    }
    String line = "unexpected " + thrown + (trace ? "" : " (--trace shows where it came from)");
    return report(err, line, thrown, trace, INTERNAL);
  }

  /** File system exceptions carry the name of the file as their whole message. */
  private static String describe(IOException failure) {
    if (!(failure instanceof FileSystemException on) || on.getReason() != null) {
      return failure.getMessage() == null ? failure.toString() : failure.getMessage();
    }
    if (on instanceof NoSuchFileException) {
      return on.getFile() + ": no such file or directory";
    }
    if (on instanceof AccessDeniedException) {
      return on.getFile() + ": permission denied";
    }
    if (on instanceof FileAlreadyExistsException) {
      return on.getFile() + ": exists already";
    }
    if (on instanceof NotDirectoryException) {
      return on.getFile() + ": not a directory";
    }
    return on.getFile() + ": " + on.getClass().getSimpleName();
  }

  private static int report(
      PrintWriter err, String text, Throwable thrown, boolean trace, int exitCode) {
    err.println("fusednorm: " + text.strip().replaceAll("\\s*\\R\\s*", " "));
    if (trace) {
      thrown.printStackTrace(err);
    }
    err.flush();
    return exitCode;
  }
}
