package org.fusednorm.testing;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** A JVM of its own for what happens once in a JVM's life, such as loading a library. */
public final class ForkedJvm {
  private final Process process;

  private ForkedJvm(Process process) {
    this.process = process;
  }

  /** What a JVM printed on both streams, and its exit code. */
  public record Result(int exit, String output) {}

  /**
   * Starts the main class.
   *
   * @param environment variables beside those of this process
   * @param options JVM options
   */
  public static ForkedJvm start(
      String classPath, Map<String, String> environment, List<String> options, Class<?> main) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-Xmx64m");
    command.add("--enable-native-access=ALL-UNNAMED");
    command.addAll(options);
    command.addAll(List.of("-cp", classPath, main.getName()));
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    try {
      return new ForkedJvm(builder.start());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Runs the main class with the class path of this JVM. */
  public static Result run(List<String> options, Class<?> main) {
    return start(System.getProperty("java.class.path"), Map.of(), options, main).await();
  }

  /** Waits for the end of the JVM. */
  public Result await() {
    try {
      byte[] output = process.getInputStream().readAllBytes();
      return new Result(process.waitFor(), new String(output, StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      process.destroyForcibly();
      throw new IllegalStateException("interrupted while waiting for " + process, e);
    }
  }
}
