package org.fusednorm.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.fusednorm.Availability;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.cli.verify.Comparison;
import org.fusednorm.cli.verify.Verification;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Checks what the backends compute. */
@Command(
    name = "verify",
    description = {
      "Checks every operation of every backend that is available.",
      "",
      "Each is set beside the reference engine in double precision and beside golden vectors that"
          + " were computed in exact arithmetic outside this program: all layouts, types and"
          + " sizes, means far from 0, constant channels, NaN. The table has one row per operation"
          + " and type with its worst case. Errors are relative to what suits the output: 1 + |y|"
          + " for y, the deviation of the channel for a mean.",
      ""
    },
    footer = {
      "",
      "Example: check the CPU backend only, and keep every comparison:",
      "  fusednorm verify --backend cpu --json > verify.json"
    })
final class VerifyCommand implements Runnable {
  /** How many failures are listed one by one. */
  private static final int FAILURES = 20;

  /** Widest text in the column of shapes, so that rows fit 100 columns. */
  private static final int SHAPE = 27;

  @Mixin private CommonOptions common;
  @Spec private CommandSpec spec;

  @Option(
      names = "--quick",
      description = "A few small sizes of every operation in place of all sizes.")
  private boolean quick;

  @Option(names = "--all", description = "A row for every comparison, not only for the worst.")
  private boolean all;

  private final Opener opener;

  /** Where the backends to check come from. */
  @FunctionalInterface
  interface Opener {
    List<Backend> open();
  }

  VerifyCommand() {
    opener = this::openBackends;
  }

  /** For tests: checks these backends. */
  VerifyCommand(Opener opener) {
    this.opener = opener;
  }

  /** The document of {@code --json}. */
  private record Document(
      boolean ok, int comparisons, int failed, double seconds, List<Row> results) {}

  private record Row(
      String backend,
      String operation,
      String output,
      String problem,
      String dtype,
      Double maxError,
      Double rmsError,
      double threshold,
      boolean ok,
      int index,
      Double expected,
      Double actual,
      String failure) {
    static Row of(Comparison c) {
      return new Row(
          c.backend(),
          c.operation(),
          c.output(),
          c.problem(),
          c.dtype().name(),
          Json.number(c.maxError()),
          Json.number(c.rmsError()),
          c.threshold(),
          c.ok(),
          c.index(),
          Json.number(c.expected()),
          Json.number(c.actual()),
          c.failure());
    }
  }

  @Override
  public void run() {
    long start = System.nanoTime();
    List<Backend> backends = opener.open();
    List<Comparison> results;
    Map<String, String> names = new LinkedHashMap<>();
    try {
      backends.forEach(b -> names.put(b.device().toString(), b.description()));
      results = check(backends);
    } finally {
      backends.forEach(Backend::close);
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    List<Comparison> failed = results.stream().filter(c -> !c.ok()).toList();
    PrintWriter out = spec.commandLine().getOut();
    if (common.json()) {
      List<Row> rows = results.stream().map(Row::of).toList();
      Json.print(out, new Document(failed.isEmpty(), results.size(), failed.size(), seconds, rows));
    } else {
      print(out, names, results, failed, seconds);
    }
    if (!failed.isEmpty()) {
      throw new CheckFailed(describe(results.size(), failed));
    }
  }

  private List<Backend> openBackends() {
    if (common.backend() != null) {
      return List.of(common.open());
    }
    return Backends.availability().stream()
        .filter(Availability::available)
        .map(a -> CommonOptions.open(a.name()))
        .toList();
  }

  private List<Comparison> check(List<Backend> backends) {
    Verification verification = new Verification(quick);
    try (Progress progress = Progress.start("verify", verification.problems(), 0)) {
      return verification.run(
          backends,
          name -> {
            progress.note(name);
            progress.advance(1);
          });
    }
  }

  private void print(
      PrintWriter out,
      Map<String, String> names,
      List<Comparison> results,
      List<Comparison> failed,
      double seconds) {
    names.forEach(
        (backend, description) -> {
          out.println(backend + ": " + description);
          List<Comparison> mine =
              results.stream().filter(c -> c.backend().equals(backend)).toList();
          table(mine).print(out);
          out.println();
        });
    if (!failed.isEmpty()) {
      out.println("Failed:");
      failed.stream().limit(FAILURES).forEach(c -> out.println("  " + describe(c)));
      if (failed.size() > FAILURES) {
        out.println("  and " + (failed.size() - FAILURES) + " more");
      }
      out.println();
    }
    out.printf(
        Locale.ROOT,
        "%d of %d comparisons hold (%.1f s).%n",
        results.size() - failed.size(),
        results.size(),
        seconds);
    out.flush();
  }

  private TextTable table(List<Comparison> results) {
    Map<String, Map<DType, List<Comparison>>> verbs = new LinkedHashMap<>();
    for (Comparison c : results) {
      String verb = c.operation().split("[ +,]", 2)[0];
      verbs
          .computeIfAbsent(verb, k -> new EnumMap<>(DType.class))
          .computeIfAbsent(c.dtype(), k -> new ArrayList<>())
          .add(c);
    }
    List<List<Comparison>> groups = new ArrayList<>();
    verbs.values().forEach(byType -> groups.addAll(byType.values()));
    TextTable table =
        new TextTable("llllrrl", "operation", "type", "output", "shape", "error", "allowed", "");
    for (List<Comparison> group : all ? results.stream().map(List::of).toList() : groups) {
      Comparison worst = worst(group);
      table.row(
          worst.operation(),
          worst.dtype().name(),
          worst.output(),
          shortened(worst.problem()),
          number(worst.maxError()),
          number(worst.threshold()),
          group.stream().allMatch(Comparison::ok) ? "ok" : "FAILED");
    }
    return table;
  }

  private static String shortened(String problem) {
    return problem.length() <= SHAPE ? problem : problem.substring(0, SHAPE - 1) + "…";
  }

  private static Comparison worst(List<Comparison> of) {
    return of.stream().max(Comparator.comparingDouble(Comparison::used)).orElseThrow();
  }

  private static String describe(int comparisons, List<Comparison> failed) {
    return failed.size()
        + " of "
        + comparisons
        + (failed.size() == 1 ? " comparisons fails: " : " comparisons fail, the worst: ")
        + describe(worst(failed));
  }

  private static String describe(Comparison c) {
    String where =
        c.backend() + " " + c.operation() + " of " + c.problem() + " " + c.dtype() + ": ";
    if (!c.failure().isEmpty()) {
      return where + c.failure();
    }
    return where
        + String.format(
            Locale.ROOT,
            "%s is off by %s at most, %s in the mean square (allowed %s); at [%d] it is %s, not %s",
            c.output(),
            number(c.maxError()),
            number(c.rmsError()),
            number(c.threshold()),
            c.index(),
            c.actual(),
            c.expected());
  }

  private static String number(double v) {
    if (Double.isInfinite(v)) {
      return "inf";
    }
    return v == 0 ? "0" : String.format(Locale.ROOT, "%.1e", v);
  }
}
