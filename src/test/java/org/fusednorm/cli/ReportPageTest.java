package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.abort;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Opens the report in a real browser: it renders, fetches nothing and reports no error. */
class ReportPageTest {
  /** Says what was painted. It runs after the page's own script, whose charts draw at once. */
  private static final String PROBE =
      """
      <script>
      const radio = document.querySelector('input[value=logarithmic]');
      if (radio && location.hash === '#log') radio.click();
      document.documentElement.dataset.probe = JSON.stringify({
        canvases: [...document.querySelectorAll('canvas')].map((canvas) => {
          const { width, height } = canvas;
          const pixels = width && height
            ? canvas.getContext('2d').getImageData(0, 0, width, height).data : [];
          const colors = new Set();
          for (let i = 0; i < pixels.length; i += 4) {
            if (pixels[i + 3] > 200) colors.add(pixels.slice(i, i + 3).join());
          }
          return { width, height, colors: colors.size, label: canvas.ariaLabel };
        }),
        resources: performance.getEntriesByType('resource').map((entry) => entry.name),
        failure: document.getElementById('failure')?.hidden === false,
        tooWide: document.documentElement.scrollWidth - innerWidth,
        dark: matchMedia('(prefers-color-scheme: dark)').matches,
      });
      </script>
      """;

  @TempDir Path directory;

  private record Visit(JsonObject probe, int charts, List<String> console, List<String> requests) {}

  @ParameterizedTest
  @CsvSource({
    "figure1, 4, 1600, light, ''",
    "figure1, 4, 400, dark, #log",
    "learning-rate, 3, 1300, light, #log",
    "initialization, 2, 1300, dark, ''",
    "saturation, 7, 400, light, ''",
  })
  void renders(String experiment, int charts, int width, String scheme, String hash)
      throws Exception {
    Report.write(SampleMetrics.of(experiment), directory);
    assertFine(
        visit(Files.readString(directory.resolve("report.html")), width, scheme, hash), charts);
  }

  @Test
  void rendersRunsThatWereCutShort() throws Exception {
    Metrics metrics =
        SampleMetrics.metrics(
            "learning-rate",
            "<b>a claim</b>",
            List.of(
                SampleMetrics.diverged("</script>", 15),
                SampleMetrics.point("one", true, 0.01, "sigmoid", 3, Double.NaN, null)),
            null);
    assertFine(visit(Report.page(metrics), 1300, "light", "#log"), 3);
    Metrics nothing = SampleMetrics.metrics("saturation", "no run", List.of(), null);
    assertFine(visit(Report.page(nothing), 1300, "light", ""), 0);
  }

  private static void assertFine(Visit visit, int charts) {
    assertEquals(List.of(), visit.console, "the console");
    assertEquals(List.of(), visit.requests, "requests");
    assertEquals(0, visit.probe.getAsJsonArray("resources").size(), visit.probe.toString());
    assertFalse(visit.probe.get("failure").getAsBoolean(), "the page reports a failure");
    assertEquals(charts, visit.charts, "charts created");
    JsonArray canvases = visit.probe.getAsJsonArray("canvases");
    assertEquals(charts, canvases.size(), "canvases");
    for (JsonElement canvas : canvases) {
      assertTrue(canvas.getAsJsonObject().get("colors").getAsInt() > 3, "painted: " + canvas);
      assertTrue(canvas.getAsJsonObject().has("label"), "labelled: " + canvas);
    }
    assertTrue(visit.probe.get("tooWide").getAsInt() <= 0, visit.probe.toString());
  }

  /** The checks above can fail: a page that errs and fetches is seen to do so. */
  @Test
  void seesErrorsAndRequests() throws Exception {
    Visit visit =
        visit(
            "<html><body><canvas></canvas><img src=\"http://figures.invalid/x.png\">"
                + "<script>nothing.here()</script></body></html>",
            800,
            "light",
            "");
    assertTrue(visit.console.toString().contains("nothing is not defined"), visit.toString());
    assertTrue(visit.requests.toString().contains("figures.invalid"), visit.toString());
    assertEquals(0, visit.charts);
    JsonObject canvas = visit.probe.getAsJsonArray("canvases").get(0).getAsJsonObject();
    assertEquals(0, canvas.get("colors").getAsInt());
  }

  private Visit visit(String html, int width, String scheme, String hash) throws Exception {
    String browser = chromium();
    Path page = directory.resolve("page.html");
    Files.writeString(page, html.replace("</body>", PROBE + "</body>"));
    Path netLog = directory.resolve("net.json");
    Path out = directory.resolve("dom.html");
    Path err = directory.resolve("log.txt");
    Process process =
        new ProcessBuilder(
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--user-data-dir=" + Files.createTempDirectory(directory, "profile"),
                "--enable-logging=stderr",
                "--log-net-log=" + netLog,
                "--blink-settings=preferredColorScheme=" + (scheme.equals("dark") ? 0 : 1),
                "--window-size=" + width + ",900",
                "--virtual-time-budget=5000",
                "--dump-dom",
                page.toUri() + hash)
            .redirectOutput(out.toFile())
            .redirectError(err.toFile())
            .start();
    if (!process.waitFor(120, TimeUnit.SECONDS)) {
      process.descendants().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
      fail("the browser did not end: " + Files.readString(err));
    }
    String dom = Files.readString(out);
    Matcher probe = Pattern.compile("<html[^>]* data-probe=\"([^\"]*)\"").matcher(dom);
    assertTrue(probe.find(), "the page did not load: " + Files.readString(err));
    String json = probe.group(1).replace("&quot;", "\"").replace("&amp;", "&");
    JsonObject seen = JsonParser.parseString(json).getAsJsonObject();
    assertEquals(scheme.equals("dark"), seen.get("dark").getAsBoolean(), "color scheme");
    Matcher charts = Pattern.compile("<html[^>]* data-charts=\"(\\d+)\"").matcher(dom);
    return new Visit(
        seen,
        charts.find() ? Integer.parseInt(charts.group(1)) : 0,
        Files.readString(err).lines().filter(line -> line.contains(":CONSOLE")).toList(),
        requests(netLog));
  }

  /** What the page asked for, by the browser's own log; its housekeeping has no origin there. */
  private static List<String> requests(Path netLog) throws IOException {
    JsonObject log = JsonParser.parseString(Files.readString(netLog)).getAsJsonObject();
    List<String> urls = new ArrayList<>();
    for (JsonElement event : log.getAsJsonArray("events")) {
      JsonObject parameters = event.getAsJsonObject().getAsJsonObject("params");
      if (parameters != null
          && parameters.has("url")
          && parameters.has("initiator")
          && !parameters.get("initiator").getAsString().equals("not an origin")) {
        urls.add(parameters.get("url").getAsString());
      }
    }
    return urls;
  }

  private static String chromium() {
    for (String folder : System.getenv().getOrDefault("PATH", "").split(File.pathSeparator)) {
      for (String name : List.of("chromium", "chromium-browser", "google-chrome")) {
        File file = new File(folder, name);
        if (file.canExecute()) {
          return file.getPath();
        }
      }
    }
    String reason = "no chromium on the PATH (Debian: apt-get install chromium)";
    if (List.of(System.getProperty("fusednorm.require", "").split(",")).contains("chromium")) {
      return fail(reason);
    }
    return abort(reason);
  }
}
