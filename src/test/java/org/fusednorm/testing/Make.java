package org.fusednorm.testing;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Runs a Makefile of this repository as the build does, into the same folder. */
public final class Make {
  private Make() {}

  /**
   * Makes one target; skips the test where make, the C++ compiler or the source tree is missing.
   *
   * @return the folder that it was made in
   * @throws AssertionError with its output, if make fails
   */
  public static Path run(String folder, String target) throws IOException, InterruptedException {
    Required.assume(
        "sources", Files.isDirectory(Path.of(folder)), "no " + folder + " here, not a source tree");
    Required.assume("g++", onPath("make") && onPath("g++"), "no make or no g++ on the PATH");
    Path out = Path.of("target", folder).toAbsolutePath();
    List<String> command =
        List.of("make", "-s", "--no-print-directory", "-C", folder, "OUT=" + out, target);
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    byte[] output = process.getInputStream().readAllBytes();
    if (process.waitFor() != 0) {
      throw new AssertionError(command + "\n" + new String(output, StandardCharsets.UTF_8));
    }
    return out;
  }

  private static boolean onPath(String program) {
    for (String folder : System.getenv("PATH").split(":")) {
      if (Files.isExecutable(Path.of(folder, program))) {
        return true;
      }
    }
    return false;
  }
}
