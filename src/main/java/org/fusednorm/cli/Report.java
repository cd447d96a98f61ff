package org.fusednorm.cli;

import static org.fusednorm.cli.SvgWriter.escape;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The report of a training experiment: a page that opens offline in a browser, and its figure as
 * SVG and PNG.
 *
 * <p>The page holds its scripts, styles and data and, by its content security policy, fetches
 * nothing. Chart.js and JFreeChart are optional dependencies which the launcher of the command line
 * puts on the class path.
 */
public final class Report {
  private static final String CHART_JS =
      "/META-INF/resources/webjars/chart.js/4.5.1/dist/chart.umd.min.js";

  private static final Pattern PLACE = Pattern.compile("\\{\\{(\\w+)}}");

  private Report() {}

  /**
   * What a report consists of.
   *
   * @param files the files written
   * @param notes one line for each file that was left out, with the reason
   */
  public record Written(List<Path> files, List<String> notes) {}

  /**
   * Writes {@code report.html}, and the figure as {@code NAME.svg} and {@code NAME.png}, where NAME
   * is the experiment's. Each file is written whole or not at all. On a JVM without fonts the PNG
   * is left out, and one from before removed; the SVG needs none.
   *
   * @param metrics what to report
   * @param directory where to, created if missing
   * @return the files, and a note for each one left out
   * @throws IOException if a file cannot be written
   * @throws IllegalStateException if Chart.js is not on the class path
   */
  public static Written write(Metrics metrics, Path directory) throws IOException {
    List<Path> files = new ArrayList<>();
    List<String> notes = new ArrayList<>();
    String figure = metrics.experiment();
    files.add(write(directory.resolve("report.html"), utf8(page(metrics))));
    try {
      files.add(write(directory.resolve(figure + ".svg"), utf8(Figures.svg(metrics))));
      files.add(write(directory.resolve(figure + ".png"), Figures.png(metrics)));
    } catch (IllegalStateException e) {
      // One of an earlier run would pass for this one's.
      Files.deleteIfExists(directory.resolve(figure + ".png"));
      notes.add(figure + ".png left out: " + e.getMessage());
    } catch (NoClassDefFoundError e) {
      notes.add(
          figure
              + ".svg and .png left out: they need JFreeChart and java.desktop ("
              + e.getMessage()
              + ")");
    }
    return new Written(List.copyOf(files), List.copyOf(notes));
  }

  private static Path write(Path file, byte[] content) throws IOException {
    WholeFile.write(file, content);
    return file;
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  /** The page as text. */
  static String page(Metrics metrics) throws IOException {
    Map<String, String> parts = new LinkedHashMap<>();
    parts.put("title", escape(Series.title(metrics)));
    parts.put("experiment", escape(metrics.experiment()));
    parts.put("figure", escape(metrics.experiment()));
    parts.put("claim", escape(metrics.claim()));
    parts.put("check", Tables.check(metrics));
    parts.put("results", Tables.results(metrics));
    parts.put("machine", Tables.machine(metrics));
    parts.put("speed", Tables.speed(metrics));
    parts.put("settings", Tables.settings(metrics));
    parts.put("environment", Tables.environment(metrics));
    parts.put("numbers", Tables.numbers(metrics));
    parts.put("css", resource("report.css"));
    parts.put("js", resource("report.js"));
    // Gson writes < as \u003c, so no string of the metrics ends the script element.
    parts.put("json", metrics.toPageJson());
    // Developer tools would fetch the source map.
    parts.put("chartjs", resource(CHART_JS).replaceFirst("//# sourceMappingURL=\\S*\\s*$", ""));
    Matcher places = PLACE.matcher(resource("report.html"));
    return places.replaceAll(
        place -> {
          String part = parts.get(place.group(1));
          if (part == null) {
            throw new IllegalStateException("report.html names an unknown part " + place.group());
          }
          return Matcher.quoteReplacement(part);
        });
  }

  private static String resource(String name) throws IOException {
    try (InputStream in = Report.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException(
            name.equals(CHART_JS)
                ? "the report needs org.webjars.npm:chart.js:4.5.1 on the class path"
                : "the resource " + name + " is missing beside " + Report.class.getName());
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
