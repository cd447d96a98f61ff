package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cli.Metrics.Run;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MetricsTest {
  @TempDir Path directory;

  @ParameterizedTest
  @ValueSource(strings = {"figure1", "learning-rate", "initialization", "saturation"})
  void survivesItsFile(String experiment) throws IOException {
    Metrics metrics = SampleMetrics.of(experiment);
    Path file = directory.resolve("deep/metrics.json");
    metrics.write(file);
    Metrics read = Metrics.read(file);
    assertEquals(metrics, read);
    assertEquals(Files.readString(file), read.toJson());
    try (Stream<Path> files = Files.list(file.getParent())) {
      assertEquals(List.of(file), files.toList(), "no partial file stays");
    }
  }

  @Test
  void numbersKeepEveryBit() {
    List<Double> hard =
        List.of(
            0.1 + 0.2,
            Math.PI,
            -0.0,
            Double.MIN_VALUE,
            Double.MAX_VALUE,
            (double) 0.1f,
            2e-3,
            Double.NaN,
            Double.POSITIVE_INFINITY,
            Double.NEGATIVE_INFINITY);
    List<Integer> steps = List.of(1, 2, 3, 4, 5, 6, 7, 8, 9, Integer.MAX_VALUE);
    Run run = run(steps, hard);
    String json = metrics(run).toJson();
    assertTrue(json.contains("0.30000000000000004"), json);
    assertTrue(json.contains("\"NaN\",\"Infinity\",\"-Infinity\""), json);
    List<Double> read = Metrics.fromJson(json).runs().get(0).testAccuracy();
    for (int i = 0; i < hard.size(); i++) {
      assertEquals(
          Double.doubleToLongBits(hard.get(i)), Double.doubleToLongBits(read.get(i)), "index " + i);
    }
  }

  @Test
  void fieldsStandInTheOrderOfTheSchema() {
    String json = SampleMetrics.of("learning-rate").toJson();
    int before = -1;
    for (String field :
        List.of(
            "schema", "experiment", "claim", "settings", "environment", "runs", "check", "times")) {
      int at = json.indexOf("\n  \"" + field + "\":");
      assertTrue(at > before, field + " at " + at + " after " + before);
      before = at;
    }
  }

  @Test
  void pageJsonIsStrictAndCannotEndItsScriptElement() {
    Run run = SampleMetrics.diverged("</script><!--", 15);
    String json = metrics(run).toPageJson();
    assertFalse(json.contains("<"), json);
    assertFalse(json.contains("NaN"), json);
    assertTrue(json.contains("\"testAccuracy\":[0.1,0.21,null]"), json);
  }

  @Test
  void summaryFollowsFromTheSeries() {
    Run run = run(List.of(100, 200, 300, 400), List.of(0.5, 0.9, 0.96, 0.93));
    assertEquals(0.93, run.finalAccuracy());
    assertEquals(0.96, run.bestAccuracy());
    assertEquals(200, run.stepsTo90());
    assertEquals(300, run.stepsTo95());
    Run early = run(List.of(100), List.of(0.5));
    assertNull(early.stepsTo90());
    Run empty = run(List.of(), List.of());
    assertTrue(empty.finalAccuracy().isNaN() && empty.bestAccuracy().isNaN());
  }

  @Test
  void refusesOtherContentAndSaysWhy() throws IOException {
    String good = SampleMetrics.of("figure1").toJson();
    refuse(good.replace("\"schema\": 1", "\"schema\": 7"), "metrics schema 7, expected 1");
    refuse(good.replace("\"experiment\": \"figure1\"", "\"experiment\": \"x\""), "\"x\"");
    refuse(good.replaceFirst("\"testAccuracy\": \\[[^,]*,", "\"testAccuracy\": ["), "100 values");
    refuse(good.replaceFirst("\"claim\": \"[^\"]*\",", ""), "without claim");
    refuse(good.replaceFirst("\"testAccuracy\": \\[", "\"testAccuracy\": [null,"), "null");
    refuse(good.substring(0, good.length() / 2), "not a metrics file");
    refuse("", "empty");
    Path file = directory.resolve("bad.json");
    Files.writeString(file, "[1]");
    IOException e = assertThrows(IOException.class, () -> Metrics.read(file));
    assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
  }

  private static void refuse(String json, String reason) {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> Metrics.fromJson(json));
    assertTrue(e.getMessage().contains(reason), e.getMessage());
  }

  @Test
  void aFailedWriteLeavesWhatWasThere() throws IOException {
    Path occupied = Files.createDirectories(directory.resolve("metrics.json/inside"));
    Path file = occupied.getParent();
    assertThrows(IOException.class, () -> SampleMetrics.of("figure1").write(file));
    assertTrue(Files.isDirectory(occupied));
    try (Stream<Path> files = Files.list(directory)) {
      assertEquals(List.of(file), files.toList(), "no partial file stays");
    }
  }

  private static Run run(List<Integer> steps, List<Double> accuracy) {
    return new Run(
        "a run", true, 0.5, 0.01, "sigmoid", 3, false, steps, accuracy, null, accuracy, null, null);
  }

  private static Metrics metrics(Run... runs) {
    return SampleMetrics.metrics("figure1", "a claim", List.of(runs), null);
  }
}
