package org.fusednorm.bench;

import com.google.gson.Gson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/**
 * What a run of {@link CpuPeers} has measured so far: a file of JSON lines that only grows. A line
 * that a killed run left unfinished is dropped.
 */
final class PeerRecord {
  /** Time of a call in each iteration of one fork. */
  record Measurement(String contender, List<Double> seconds) {
    double median() {
      return PeerRecord.median(seconds.stream().mapToDouble(s -> s).toArray());
    }
  }

  /** One contest in one round. */
  record Round(
      String shape,
      String type,
      String operation,
      int threads,
      int round,
      List<Measurement> measurements) {
    NormCase norm() {
      return NormCase.parse(shape, type, operation);
    }
  }

  /** The results of one kind of process are those of the reference; what it said. */
  record Check(String process, int threads, List<String> said) {}

  /** A line: one of them is null. */
  private record Line(Round round, Check check) {}

  private final Gson gson = new Gson();
  private final Path file;
  private final List<Round> rounds = new ArrayList<>();
  private final List<Check> checks = new ArrayList<>();

  private PeerRecord(Path file) {
    this.file = file;
  }

  /** Opens the record of a run, or begins it. */
  static PeerRecord open(Path file) throws IOException {
    PeerRecord record = new PeerRecord(file);
    if (Files.exists(file)) {
      String text = Files.readString(file);
      int end = text.lastIndexOf('\n') + 1;
      if (end < text.length()) {
        Files.writeString(file, text.substring(0, end));
      }
      for (String line : text.substring(0, end).lines().toList()) {
        Line l = record.gson.fromJson(line, Line.class);
        if (l.round != null) {
          record.rounds.add(l.round);
        } else {
          record.checks.add(l.check);
        }
      }
    }
    return record;
  }

  List<Round> rounds() {
    return rounds;
  }

  List<Check> checks() {
    return checks;
  }

  boolean isChecked(String process, int threads) {
    return checks.stream().anyMatch(c -> c.process.equals(process) && c.threads == threads);
  }

  void checked(String process, int threads, List<String> said) throws IOException {
    Check c = new Check(process, threads, said);
    checks.add(c);
    append(new Line(null, c));
  }

  boolean has(NormCase c, int threads, int round) {
    return rounds.stream()
        .anyMatch(r -> r.round == round && r.threads == threads && r.norm().equals(c));
  }

  void add(NormCase c, int threads, int round, List<Measurement> measured) throws IOException {
    Round r =
        new Round(
            c.shapeText(), c.type().name(), c.operation().toString(), threads, round, measured);
    rounds.add(r);
    append(new Line(r, null));
  }

  private void append(Line line) throws IOException {
    Files.writeString(
        file, gson.toJson(line) + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
  }

  static double median(double[] v) {
    double[] sorted = v.clone();
    Arrays.sort(sorted);
    int n = sorted.length;
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }

  /** One contest for people. */
  static String line(NormCase c, List<Measurement> measured) {
    return c
        + ": "
        + measured.stream()
            .map(m -> m.contender + " " + time(m.median()))
            .collect(Collectors.joining(", "));
  }

  static String time(double seconds) {
    return seconds < 1e-3
        ? String.format(Locale.ROOT, "%.2f us", 1e6 * seconds)
        : String.format(Locale.ROOT, "%.2f ms", 1e3 * seconds);
  }
}
