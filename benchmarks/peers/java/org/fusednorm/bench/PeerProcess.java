package org.fusednorm.bench;

import com.google.gson.Gson;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** A running {@link TrainingPeer}, or the Python program that answers the same. */
final class PeerProcess implements AutoCloseable {
  /** Debian's NumPy belongs to /usr/bin/python3, which need not be the first on the path. */
  private static final List<String> PYTHONS =
      System.getenv("PYTHON") == null
          ? List.of("python3", "/usr/bin/python3")
          : List.of(System.getenv("PYTHON"));

  private static final String PROGRAM = "benchmarks/peers/numpy_figure1.py";

  private final Gson gson = new Gson();
  private final String name;
  private final Path log;
  private final List<String> settings;
  private final Process process;
  private final PrintWriter commands;
  private final BufferedReader answers;
  private final String description;

  private PeerProcess(Path work, String name, List<String> settings, ProcessBuilder start)
      throws IOException {
    this.name = name;
    this.settings = settings;
    log = work.resolve(name + ".log");
    process = start.redirectError(log.toFile()).start();
    commands = new PrintWriter(process.getOutputStream(), true, StandardCharsets.UTF_8);
    answers = process.inputReader(StandardCharsets.UTF_8);
    description = answer(TrainingPeer.Hello.class).description();
  }

  /** A library in a JVM like this one. */
  static PeerProcess java(Path work, String name, Path data, String library, String... options)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("--enable-native-access=ALL-UNNAMED");
    command.addAll(List.of(options));
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.addAll(List.of(TrainingPeer.class.getName(), library, data.toString()));
    List<String> settings = List.of(options).stream().filter(o -> o.contains("threads")).toList();
    return new PeerProcess(work, name, settings, new ProcessBuilder(command));
  }

  /** NumPy on one core. */
  static PeerProcess numpy(Path work, String name, Path data, String python) throws IOException {
    ProcessBuilder start = new ProcessBuilder(python, PROGRAM, data.toString());
    List<String> settings = new ArrayList<>();
    for (String variable : List.of("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")) {
      start.environment().put(variable, "1");
      settings.add(variable + "=1");
    }
    return new PeerProcess(work, name, settings, start);
  }

  /** A Python that has NumPy, or null. */
  static String pythonWithNumpy() throws IOException {
    for (String python : PYTHONS) {
      ProcessBuilder probe =
          new ProcessBuilder(python, "-c", "import numpy")
              .redirectErrorStream(true) // what it says of a missing NumPy
              .redirectOutput(ProcessBuilder.Redirect.DISCARD);
      try {
        if (probe.start().waitFor() == 0) {
          return python;
        }
      } catch (IOException e) {
        System.err.println(e.getMessage()); // there is no such program
      } catch (InterruptedException e) {
        throw new IOException("interrupted", e);
      }
    }
    return null;
  }

  String description() {
    return description;
  }

  List<String> settings() {
    return settings;
  }

  TrainingPeer.Trace trace(int steps) throws IOException {
    commands.println("trace " + steps);
    return answer(TrainingPeer.Trace.class);
  }

  TrainingPeer.Measurement measure(double seconds) throws IOException {
    commands.println("measure " + seconds);
    return answer(TrainingPeer.Measurement.class);
  }

  private <T> T answer(Class<T> type) throws IOException {
    String line = answers.readLine();
    if (line == null) {
      throw new IOException(name + " ended without an answer:\n" + Files.readString(log));
    }
    return gson.fromJson(line, type);
  }

  /** Ends the process. */
  @Override
  public void close() {
    commands.close();
    process.destroy();
  }
}
