package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.concurrent.Callable;
import org.fusednorm.BackendException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Exit codes and the rule of one line, through the command line that users get. */
class MainTest {
  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();
  private String threadsBefore;

  /** A command that does what the test says, with the options that all commands share. */
  @Command(name = "act", description = "Does what the test says.")
  private static final class Act implements Callable<Integer> {
    @Mixin private CommonOptions common;
    private final Callable<Integer> action;

    Act(Callable<Integer> action) {
      this.action = action;
    }

    @Override
    public Integer call() throws Exception {
      return action.call();
    }
  }

  @Command(name = "open", description = "Opens a backend and closes it.")
  private static final class Opening implements Runnable {
    @Mixin private CommonOptions common;

    @Override
    public void run() {
      common.open().close();
    }
  }

  @BeforeEach
  void keepThreads() {
    threadsBefore = System.getProperty("fusednorm.threads");
  }

  @AfterEach
  void restoreThreads() {
    if (threadsBefore == null) {
      System.clearProperty("fusednorm.threads");
    } else {
      System.setProperty("fusednorm.threads", threadsBefore);
    }
  }

  private int run(CommandLine commandLine, String... args) {
    commandLine.setOut(new PrintWriter(out)).setErr(new PrintWriter(err));
    return Main.run(commandLine, args);
  }

  private int act(Callable<Integer> action, String... args) {
    return run(Main.commandLine().addSubcommand(new Act(action)), args);
  }

  private int fail(Throwable thrown, String... args) {
    return act(
        () -> {
          if (thrown instanceof Error e) {
            throw e;
          }
          throw (Exception) thrown;
        },
        args);
  }

  private void assertOneLine(String expected) {
    assertAll(
        () -> assertEquals(expected + System.lineSeparator(), err.toString()),
        () -> assertEquals("", out.toString()));
  }

  @Test
  void aMalformedSettingIsAUserError() {
    System.setProperty("fusednorm.threads", "two");
    CommandLine commands = Main.commandLine().addSubcommand(new Opening());
    assertEquals(2, run(commands, "open", "--backend", "cpu"));
    assertOneLine("fusednorm: -Dfusednorm.threads=two (or FUSEDNORM_THREADS) is no number");
  }

  @Test
  void versionIsTheBuilds() {
    assertEquals(0, run(Main.commandLine(), "--version"));
    assertTrue(
        out.toString().matches("fusednorm \\d+\\.\\d+\\.\\d+\\S*\\RJava .*\\R"), out::toString);
    assertEquals("", err.toString());
  }

  @Test
  void helpIsWholeAndNoError() {
    assertEquals(0, act(() -> 0, "--help"));
    String help = out.toString();
    assertAll(
        () -> assertTrue(help.contains("Usage: fusednorm [-hV] [--trace] COMMAND"), help),
        () -> assertTrue(help.matches("(?s).* act +Does what the test says\\..*"), help),
        () -> assertTrue(help.contains("70   an error inside fusednorm or of the device"), help),
        () -> assertEquals("", err.toString()));
  }

  @Test
  void everyCommandHasHelpBackendJsonAndTrace() {
    CommandLine commandLine = Main.commandLine().addSubcommand(new Act(() -> 0));
    commandLine
        .getSubcommands()
        .forEach(
            (name, command) -> {
              for (String option : new String[] {"--help", "--backend", "--json", "--trace"}) {
                assertTrue(
                    command.getCommandSpec().optionsMap().containsKey(option), name + option);
              }
            });
  }

  @Test
  void missingCommandIsBadUsage() {
    assertEquals(2, run(Main.commandLine()));
    assertOneLine("fusednorm: missing COMMAND (see fusednorm --help)");
  }

  @Test
  void misspelledOptionIsBadUsageWithASuggestion() {
    assertEquals(2, act(() -> 0, "act", "--jsn"));
    assertOneLine(
        "fusednorm: Unknown option: '--jsn'; did you mean --json? (see fusednorm act --help)");
  }

  @Test
  void unknownBackendIsBadInputWithTheNamesThereAre() {
    CommandLine commandLine = Main.commandLine().addSubcommand(new Opening());
    assertEquals(2, run(commandLine, "open", "--backend", "abacus"));
    String text = err.toString();
    assertTrue(text.startsWith("fusednorm: no backend \"abacus\": there are"), text);
    assertEquals(1, text.lines().count(), text);
  }

  @Test
  void badThreadsAreBadUsage() {
    assertEquals(2, act(() -> 0, "act", "--threads", "0"));
    assertOneLine("fusednorm: --threads must be at least 1, not 0 (see fusednorm act --help)");
  }

  @Test
  void threadsReachTheEngines() {
    assertEquals(3, act(() -> Integer.getInteger("fusednorm.threads"), "act", "--threads", "3"));
  }

  @Test
  void userErrorIsOneLineAndCode2() {
    assertEquals(2, fail(new UserError("batch of 0:\n  must be positive"), "act"));
    assertOneLine("fusednorm: batch of 0: must be positive");
  }

  @Test
  void failedCheckIsOneLineAndCode1() {
    assertEquals(1, fail(new CheckFailed("accuracy 0.91 < 0.97"), "act"));
    assertOneLine("fusednorm: accuracy 0.91 < 0.97");
  }

  @Test
  void missingFileIsNamedWithItsReason() {
    assertEquals(2, fail(new UncheckedIOException(new NoSuchFileException("a/b")), "act"));
    assertOneLine("fusednorm: a/b: no such file or directory");
  }

  @Test
  void deniedFileIsNamedWithItsReason() {
    assertEquals(2, fail(new AccessDeniedException("a/b"), "act"));
    assertOneLine("fusednorm: a/b: permission denied");
  }

  @Test
  void reasonOfTheSystemIsKept() {
    assertEquals(2, fail(new FileSystemException("a/b", null, "No space left on device"), "act"));
    assertOneLine("fusednorm: a/b: No space left on device");
  }

  @Test
  void inputOutputErrorWithoutTextIsStillNamed() {
    assertEquals(2, fail(new IOException(), "act"));
    assertOneLine("fusednorm: java.io.IOException");
  }

  @Test
  void unexpectedErrorsHaveTheirOwnCodeAndAHint() {
    assertEquals(70, fail(new IllegalStateException("odd"), "act"));
    assertOneLine(
        "fusednorm: unexpected java.lang.IllegalStateException: odd"
            + " (--trace shows where it came from)");
  }

  @Test
  void failureOfADeviceIsToldInTheDriversWords() {
    String text = "cuMemAlloc(3211264 bytes): CUDA_ERROR_OUT_OF_MEMORY (2)";
    assertEquals(70, fail(new BackendException(text), "act"));
    assertOneLine("fusednorm: " + text);
  }

  @Test
  void errorsOfTheJvmDoNotEscape() {
    assertEquals(70, fail(new OutOfMemoryError("Java heap space"), "act"));
    assertOneLine(
        "fusednorm: unexpected java.lang.OutOfMemoryError: Java heap space"
            + " (--trace shows where it came from)");
  }

  @Test
  void traceIsPrintedWhereverItIsAskedFor() {
    assertEquals(70, fail(new IllegalStateException("odd"), "act", "--trace"));
    String text = err.toString();
    assertAll(
        () -> assertTrue(text.startsWith("fusednorm: unexpected java.lang.Ill"), text),
        () -> assertTrue(text.contains("\tat org.fusednorm.cli.MainTest."), text));
  }
}
