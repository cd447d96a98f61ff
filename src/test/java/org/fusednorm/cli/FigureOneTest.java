package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The main job reaches what the paper's Figure 1 shows, on drawn digits and on the real MNIST. */
class FigureOneTest {
  @TempDir private Path out;

  private List<Metrics.Run> train(String... args) {
    List<String> all = new ArrayList<>(List.of("train", "--json", "--out", out.toString()));
    all.addAll(List.of(args));
    Cli ran = Cli.run(all.toArray(String[]::new));
    assertEquals(0, ran.code(), ran.err());
    List<Metrics.Run> runs = Metrics.fromJson(ran.out()).runs();
    assertTrue(!runs.get(0).batchNorm() && runs.get(1).batchNorm());
    return runs;
  }

  private static double at(Metrics.Run run, int step) {
    return run.testAccuracy().get(run.steps().indexOf(step));
  }

  @Test
  void onDrawnDigits() {
    List<Metrics.Run> runs = train("--steps", "10000", "--eval-every", "1000");
    assertTrue(runs.get(1).finalAccuracy() >= 0.97, runs.toString());
    assertTrue(runs.get(1).finalAccuracyPopulation() >= 0.97, runs.toString());
    assertTrue(at(runs.get(1), 3000) > 0.93, runs.toString());
    assertTrue(at(runs.get(0), 3000) < 0.70, runs.toString());
  }

  @Test
  void onMnist() throws IOException {
    String folder = System.getProperty("fusednorm.mnist", System.getenv("FUSEDNORM_MNIST"));
    Required.assume(
        "mnist",
        folder != null && Files.isDirectory(Path.of(folder)),
        "-Dfusednorm.mnist or FUSEDNORM_MNIST names no folder with its files");
    List<Metrics.Run> runs = train("--data", folder, "--steps", "50000");
    assertTrue(at(runs.get(1), 500) > 0.86, runs.toString());
    assertTrue(at(runs.get(1), 3000) > 0.93, runs.toString());
    assertTrue(at(runs.get(0), 3000) < 0.70, runs.toString());
    assertTrue(runs.get(1).finalAccuracy() >= 0.973, runs.toString());
  }
}
