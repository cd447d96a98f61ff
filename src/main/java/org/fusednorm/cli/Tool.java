package org.fusednorm.cli;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Programs of this machine that a command needs. */
final class Tool {
  /** Lines of a failed program's output that go into the one line of the error. */
  private static final int LINES = 3;

  private Tool() {}

  static boolean isOnPath(String program) {
    String path = System.getenv("PATH");
    for (String folder : (path == null ? "" : path).split(":")) {
      if (!folder.isEmpty() && Files.isExecutable(Path.of(folder, program))) {
        return true;
      }
    }
    return false;
  }

  /**
   * Runs a program to its end.
   *
   * @return what it printed, on both streams
   * @throws UserError if it is not there or fails, with the end of what it printed
   */
  static String run(Path directory, List<String> command) throws IOException {
    String program = Path.of(command.get(0)).getFileName().toString();
    Process process;
    try {
      process =
          new ProcessBuilder(command)
              .directory(directory.toFile())
              .redirectErrorStream(true)
              .redirectInput(ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()))
              .start();
    } catch (IOException e) {
      throw new UserError(program + " cannot be started: " + e.getMessage(), e);
    }
    try {
      String output =
          new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      int code = process.waitFor();
      if (code != 0) {
        List<String> lines = output.lines().filter(line -> !line.isBlank()).toList();
        List<String> end = lines.subList(Math.max(0, lines.size() - LINES), lines.size());
        throw new UserError(program + " failed with code " + code + ": " + String.join(" ", end));
      }
      return output;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new InterruptedIOException(program);
    } finally {
      process.destroy();
    }
  }
}
