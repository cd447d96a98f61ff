package org.fusednorm.cli;

import static org.fusednorm.cli.SvgWriter.escape;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import org.fusednorm.cli.Metrics.Check;
import org.fusednorm.cli.Metrics.Environment;
import org.fusednorm.cli.Metrics.GradientNorms;
import org.fusednorm.cli.Metrics.Run;
import org.fusednorm.cli.Metrics.Settings;
import org.fusednorm.cli.Metrics.Speed;
import org.fusednorm.cli.Metrics.Threshold;

/** The parts of the report that are text: they are there without JavaScript too. */
final class Tables {
  /** More rows are no use to a reader; metrics.json has them all. */
  private static final int MOST_ROWS = 200;

  private Tables() {}

  static String check(Metrics metrics) {
    Check check = metrics.check();
    if (check == null) {
      return "";
    }
    String verdict =
        check.passed()
            ? "<p class=\"verdict passed\">✓ Reproduced: every threshold holds.</p>"
            : "<p class=\"verdict failed\">✗ Not reproduced: a threshold does not hold.</p>";
    List<List<String>> rows = new ArrayList<>();
    for (Threshold t : check.thresholds()) {
      rows.add(
          List.of(
              t.what(),
              Series.number(t.value()),
              Series.number(t.limit()),
              String.valueOf(t.seed()),
              t.passed() ? "✓ holds" : "✗ fails"));
    }
    return verdict
        + table(
            "Thresholds of the check",
            List.of("what must hold", "measured", "limit", "seed", "outcome"),
            rows);
  }

  static String results(Metrics metrics) {
    boolean population =
        metrics.runs().stream().anyMatch(run -> run.finalAccuracyPopulation() != null);
    List<String> head = new ArrayList<>(List.of("run", "final accuracy"));
    if (population) {
      head.add("by population statistics");
    }
    head.addAll(List.of("best accuracy", "steps to 90 %", "steps to 95 %", "last step"));
    List<List<String>> rows = new ArrayList<>();
    for (Run run : metrics.runs()) {
      List<String> row = new ArrayList<>();
      row.add(run.name() + (run.diverged() ? " (diverged)" : ""));
      row.add(Series.percent(run.finalAccuracy()));
      if (population) {
        row.add(Series.percent(run.finalAccuracyPopulation()));
      }
      row.add(Series.percent(run.bestAccuracy()));
      row.add(Series.count(run.stepsTo90()));
      row.add(Series.count(run.stepsTo95()));
      row.add(run.steps().isEmpty() ? "–" : Series.count(run.steps().get(run.steps().size() - 1)));
      rows.add(row);
    }
    return table(
        "Test accuracies in percent; steps to 90 and 95 %: the first evaluation that reached it",
        head, rows);
  }

  static String machine(Metrics metrics) {
    Environment e = metrics.environment();
    return escape(
        String.format(
            Locale.ROOT,
            "%s, backend %s (%s), %s. From the start of the JVM to the first training step %s s, in"
                + " all %s s.",
            e.machine(),
            e.backend(),
            e.engine(),
            e.threads() == 1 ? "1 thread" : e.threads() + " threads",
            Series.number(metrics.times().startToFirstStepSeconds()),
            Series.number(metrics.times().totalSeconds())));
  }

  static String speed(Metrics metrics) {
    Set<String> kinds = new LinkedHashSet<>();
    for (Speed speed : metrics.times().runs()) {
      if (speed.share() != null) {
        kinds.addAll(speed.share().keySet());
      }
    }
    List<String> head = new ArrayList<>(List.of("run", "steps per second"));
    kinds.forEach(kind -> head.add(kindName(kind) + " (%)"));
    List<List<String>> rows = new ArrayList<>();
    for (Speed speed : metrics.times().runs()) {
      List<String> row = new ArrayList<>();
      row.add(speed.name());
      row.add(Series.number((double) Math.round(speed.stepsPerSecond())));
      for (String kind : kinds) {
        Double share = speed.share() == null ? null : speed.share().get(kind);
        row.add(share == null ? "–" : String.format(Locale.ROOT, "%.1f", 100 * share));
      }
      rows.add(row);
    }
    return table("Training speed, evaluations not counted, and shares of a step", head, rows);
  }

  private static String kindName(String kind) {
    return switch (kind) {
      case "gemm" -> "GEMM";
      case "batchNorm" -> "batch norm";
      default -> kind;
    };
  }

  static String settings(Metrics metrics) {
    Settings s = metrics.settings();
    return list(
        "data", s.data(),
        "training images", Series.count(s.trainImages()),
        "test images", Series.count(s.testImages()),
        "network", s.network(),
        "activation", s.activation(),
        "steps", Series.count(s.steps()) + ", evaluated every " + Series.count(s.evalEvery()),
        "batch", Series.count(s.batch()),
        "learning rate", Series.number(s.learningRate()),
        "σ of the initial weights", Series.number(s.sigma()),
        "momentum of running statistics", Series.number(s.momentum()),
        "seed", String.valueOf(s.seed()));
  }

  static String environment(Metrics metrics) {
    Environment e = metrics.environment();
    return list(
        "fusednorm", e.version(),
        "backend", e.backend(),
        "engine", e.engine(),
        "threads", String.valueOf(e.threads()),
        "machine", e.machine(),
        "operating system", e.os(),
        "Java", e.java());
  }

  static String numbers(Metrics metrics) {
    StringBuilder html = new StringBuilder();
    for (Run run : metrics.runs()) {
      html.append("<details><summary>").append(escape(run.name())).append("</summary>\n");
      html.append(series(run)).append(gradients(run)).append("</details>\n");
    }
    return html.toString();
  }

  private static String series(Run run) {
    List<String> head = new ArrayList<>(List.of("step", "test accuracy (%)"));
    if (run.testAccuracyPopulation() != null) {
      head.add("by population statistics (%)");
    }
    head.add("training loss");
    if (run.percentiles() != null) {
      head.addAll(List.of("15th percentile", "median", "85th percentile"));
    }
    int every = (run.steps().size() + MOST_ROWS - 1) / MOST_ROWS;
    List<List<String>> rows = new ArrayList<>();
    for (int i = 0; i < run.steps().size(); i++) {
      if (i % every != 0 && i != run.steps().size() - 1) {
        continue;
      }
      List<String> row = new ArrayList<>();
      row.add(Series.count(run.steps().get(i)));
      row.add(Series.percent(run.testAccuracy().get(i)));
      if (run.testAccuracyPopulation() != null) {
        row.add(Series.percent(run.testAccuracyPopulation().get(i)));
      }
      row.add(Series.number(run.trainLoss().get(i)));
      if (run.percentiles() != null) {
        row.add(Series.number(run.percentiles().p15().get(i)));
        row.add(Series.number(run.percentiles().p50().get(i)));
        row.add(Series.number(run.percentiles().p85().get(i)));
      }
      rows.add(row);
    }
    return table(every > 1 ? "Every " + every + "th evaluation" : "Every evaluation", head, rows);
  }

  private static String gradients(Run run) {
    GradientNorms norms = run.gradientNorms();
    if (norms == null) {
      return "";
    }
    List<List<String>> rows = new ArrayList<>();
    for (int i = 0; i < norms.layers().size(); i++) {
      rows.add(List.of(norms.layers().get(i), Series.number(norms.values().get(i))));
    }
    return table("Norm of the weight gradient", List.of("layer", "norm"), rows);
  }

  private static String list(String... namesAndValues) {
    StringBuilder html = new StringBuilder("<dl>\n");
    for (int i = 0; i < namesAndValues.length; i += 2) {
      String value = namesAndValues[i + 1] == null ? "–" : namesAndValues[i + 1];
      html.append("<dt>").append(escape(namesAndValues[i])).append("</dt><dd>");
      html.append(escape(value)).append("</dd>\n");
    }
    return html.append("</dl>").toString();
  }

  /** A table whose first column heads its rows; it scrolls by itself where it is too wide. */
  private static String table(String caption, List<String> head, List<List<String>> rows) {
    String name = escape(caption);
    StringBuilder html = new StringBuilder("<p class=\"caption\">").append(name).append("</p>\n");
    html.append("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"").append(name);
    html.append("\"><table>\n<thead><tr>");
    html.append(
        head.stream()
            .map(cell -> "<th scope=\"col\">" + escape(cell) + "</th>")
            .collect(Collectors.joining()));
    html.append("</tr></thead>\n<tbody>\n");
    for (List<String> row : rows) {
      html.append("<tr><th scope=\"row\">").append(escape(row.get(0))).append("</th>");
      row.stream().skip(1).forEach(c -> html.append("<td>").append(escape(c)).append("</td>"));
      html.append("</tr>\n");
    }
    return html.append("</tbody></table></div>\n").toString();
  }
}
