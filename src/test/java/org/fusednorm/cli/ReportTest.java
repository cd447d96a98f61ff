package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import javax.tools.ToolProvider;
import javax.xml.parsers.DocumentBuilderFactory;
import org.fusednorm.cli.Metrics.Run;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;

class ReportTest {
  private static final String HOSTILE = "</script><img src=x onerror=alert(1)> & \"q\" 'a' \u0001";

  @TempDir Path directory;

  @ParameterizedTest
  @ValueSource(strings = {"figure1", "learning-rate", "initialization", "saturation"})
  void writesPageAndFigures(String experiment) throws Exception {
    Report.Written written = Report.write(SampleMetrics.of(experiment), directory);
    assertEquals(List.of(), written.notes());
    Set<String> names = new TreeSet<>();
    try (Stream<Path> files = Files.list(directory)) {
      files.forEach(file -> names.add(file.getFileName().toString()));
    }
    assertEquals(
        new TreeSet<>(List.of("report.html", experiment + ".svg", experiment + ".png")), names);
    assertEquals(3, written.files().size());
    assertPictured(Files.readAllBytes(directory.resolve(experiment + ".png")));
    parse(Files.readString(directory.resolve(experiment + ".svg")));
    assertSelfContained(Files.readString(directory.resolve("report.html")));
  }

  static Stream<Metrics> unusual() {
    List<Metrics> list = new ArrayList<>();
    for (String experiment : SampleMetrics.EXPERIMENTS) {
      List<Run> runs = SampleMetrics.of(experiment).runs();
      Run diverged = SampleMetrics.diverged("gone", 15);
      Run first =
          new Run(
              "first evaluation",
              true,
              0.5,
              0.01,
              "tanh",
              3,
              false,
              List.of(10),
              List.of(0.1),
              List.of(0.1),
              List.of(2.3),
              null,
              new Metrics.GradientNorms(List.of("a", "b"), List.of(0.0, Double.NaN)));
      Run nothing =
          new Run(
              HOSTILE, false, 0.5, 0.01, HOSTILE, 3, false, List.of(), List.of(), null, List.of(),
              null, null);
      for (List<Run> some :
          List.of(
              List.<Run>of(),
              List.of(runs.get(0)),
              List.of(diverged),
              List.of(first),
              List.of(nothing),
              List.of(first, diverged, nothing, runs.get(0), runs.get(0)))) {
        list.add(SampleMetrics.metrics(experiment, HOSTILE, some, null));
      }
    }
    return list.stream();
  }

  @ParameterizedTest
  @MethodSource("unusual")
  void partialDivergedAndHostileRunsAreReported(Metrics metrics) throws Exception {
    parse(Figures.svg(metrics));
    assertPictured(Figures.png(metrics));
    String html = Report.page(metrics);
    assertSelfContained(html);
    assertFalse(html.contains("<img"), "strings are escaped");
    assertEquals(3, html.split("<script", -1).length - 1, "script elements");
  }

  @Test
  void figureShowsTheSeries() throws Exception {
    Metrics metrics = SampleMetrics.of("figure1");
    Document svg = parse(Figures.svg(metrics));
    Set<String> texts = texts(svg);
    for (String text :
        List.of(
            "with batch norm",
            "with batch norm, population statistics",
            "without batch norm",
            "85th percentile",
            "median",
            "15th percentile",
            "training steps",
            "test accuracy (%)",
            "input of the sigmoid")) {
      assertTrue(texts.contains(text), text + " in " + texts);
    }
    // A curve of n evaluations is a path of one move and n - 1 lines, in the color of its run.
    int points = metrics.runs().get(0).steps().size();
    List<String> curves = new ArrayList<>();
    NodeList paths = svg.getElementsByTagName("path");
    for (int i = 0; i < paths.getLength(); i++) {
      Element path = (Element) paths.item(i);
      if (path.getAttribute("fill").equals("none")
          && path.getAttribute("d").chars().filter(c -> c == 'L').count() == points - 1) {
        curves.add(path.getAttribute("stroke"));
      }
    }
    String with = "#0072b2";
    String without = "#d55e00";
    assertEquals(4, curves.stream().filter(with::equals).count(), curves.toString());
    assertEquals(4, curves.stream().filter(without::equals).count(), curves.toString());
    assertEquals(9, curves.size(), "one more for the population statistics: " + curves);
  }

  @Test
  void curvesRiseOnThePage() throws Exception {
    Run rising =
        new Run(
            "rising",
            true,
            0.5,
            0.01,
            "sigmoid",
            3,
            false,
            List.of(0, 100),
            List.of(0.0, 1.0),
            null,
            List.of(2.3, 0.1),
            null,
            null);
    Metrics metrics = SampleMetrics.metrics("figure1", "a claim", List.of(rising), null);
    Matcher line =
        Pattern.compile("d=\"M([\\d.]+) ([\\d.]+)L([\\d.]+) ([\\d.]+)\" stroke=\"#0072b2\"")
            .matcher(Figures.svg(metrics));
    assertTrue(line.find(), "the sample in the legend");
    assertTrue(line.find(), "the curve");
    assertTrue(Double.parseDouble(line.group(3)) > Double.parseDouble(line.group(1)) + 100);
    assertTrue(Double.parseDouble(line.group(4)) < Double.parseDouble(line.group(2)) - 100);
  }

  @Test
  void pageHoldsTheNumbers() throws Exception {
    String html = Report.page(SampleMetrics.of("learning-rate"));
    for (String text :
        List.of(
            "✗ Not reproduced",
            "accuracy of ×30 without BN, at most",
            "(diverged)",
            "784-100-100-100-10",
            "steps to 90 %",
            "AMD EPYC 7R13",
            "2,481",
            "GEMM (%)",
            "embedded digits",
            "1.21 s")) {
      assertTrue(html.contains(text), text);
    }
    assertEquals(6, html.split("<details>", -1).length - 1, "a table of numbers for each run");
  }

  @Test
  void withoutFontsOnlyThePngIsLeftOut() throws Exception {
    Path patch = brokenFonts();
    Files.createDirectories(directory.resolve("out"));
    Files.writeString(directory.resolve("out/figure1.png"), "of an earlier run");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--patch-module",
                "java.desktop=" + patch,
                "-cp",
                System.getProperty("java.class.path"),
                WriteReport.class.getName(),
                directory.resolve("out").toString())
            .redirectErrorStream(true)
            .redirectOutput(directory.resolve("log").toFile())
            .start();
    assertTrue(process.waitFor(60, TimeUnit.SECONDS));
    String log = Files.readString(directory.resolve("log"));
    assertEquals(0, process.exitValue(), log);
    assertEquals(
        "[figure1.png left out: this JVM has no usable font: none on this machine]", log.strip());
    assertFalse(Files.exists(directory.resolve("out/figure1.png")));
    assertSelfContained(Files.readString(directory.resolve("out/report.html")));
    assertEquals(
        Figures.svg(SampleMetrics.of("figure1")),
        Files.readString(directory.resolve("out/figure1.svg")),
        "the SVG is the same on every machine");
  }

  /** What the JVM without fonts runs. */
  static final class WriteReport {
    public static void main(String[] args) throws IOException {
      System.out.println(Report.write(SampleMetrics.of("figure1"), Path.of(args[0])).notes());
    }
  }

  /** Classes that make AWT fail where it fails without fontconfig. */
  private Path brokenFonts() throws IOException {
    Path source = directory.resolve("src/sun/font/FontManagerFactory.java");
    Files.createDirectories(source.getParent());
    Files.writeString(
        source,
        "package sun.font; public final class FontManagerFactory {"
            + " public static FontManager getInstance() {"
            + " throw new InternalError(new RuntimeException(\"none on this machine\")); } }");
    Path classes = directory.resolve("patch");
    int rc =
        ToolProvider.getSystemJavaCompiler()
            .run(
                null,
                null,
                null,
                "--patch-module",
                "java.desktop=" + directory.resolve("src"),
                "-d",
                classes.toString(),
                source.toString());
    assertEquals(0, rc, "compiling " + source);
    return classes;
  }

  private static Document parse(String svg) throws Exception {
    Document document =
        DocumentBuilderFactory.newInstance()
            .newDocumentBuilder()
            .parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)));
    assertEquals("svg", document.getDocumentElement().getTagName());
    assertFalse(svg.contains("NaN") || svg.contains("href"), "finite and self-contained");
    return document;
  }

  private static Set<String> texts(Document svg) {
    NodeList nodes = svg.getElementsByTagName("text");
    Set<String> texts = new TreeSet<>();
    for (int i = 0; i < nodes.getLength(); i++) {
      texts.add(nodes.item(i).getTextContent());
    }
    return texts;
  }

  private static void assertPictured(byte[] png) throws IOException {
    BufferedImage image = ImageIO.read(new ByteArrayInputStream(png));
    int[] pixels =
        image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
    long white = Arrays.stream(pixels).filter(p -> p == 0xffffffff).count();
    assertTrue(white > pixels.length / 5, "a white ground: " + white + " of " + pixels.length);
    assertTrue(white < pixels.length * 0.995, "ink on it: " + white + " of " + pixels.length);
  }

  /** No attribute, style or script of our own that names another place. */
  private static void assertSelfContained(String html) {
    Matcher reference =
        Pattern.compile(
                "(?i)<[a-z][^>]*\\s(src|href|action)\\s*=\\s*[\"']?+(?!data:)|@import|[ :]url\\(")
            .matcher(
                html.lines().filter(l -> l.length() < 20_000).collect(Collectors.joining("\n")));
    assertFalse(reference.find(), () -> "a reference: " + reference.group());
    assertFalse(html.contains("sourceMappingURL"), "a source map would be fetched");
    assertTrue(html.contains("default-src 'none'"), "the page forbids itself to fetch");
    assertFalse(html.contains("{{"), "every place is filled");
  }
}
