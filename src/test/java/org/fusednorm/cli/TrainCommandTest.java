package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The main job through the command line, on a small data set in IDX files. */
class TrainCommandTest {
  @TempDir private static Path shared;
  @TempDir private Path out;

  @BeforeAll
  static void writeSmallData() throws IOException {
    idx(shared, "train", Digits.generate(1, 600));
    idx(shared, "t10k", Digits.generate(2, 250));
  }

  private static void idx(Path folder, String part, Dataset d) throws IOException {
    byte[] header = {0, 0, 8, 3, 0, 0, (byte) (d.count() >> 8), (byte) d.count()};
    byte[] sizes = {0, 0, 0, 28, 0, 0, 0, 28};
    byte[] images = Arrays.copyOf(header, 16 + d.images().length);
    System.arraycopy(sizes, 0, images, 8, 8);
    System.arraycopy(d.images(), 0, images, 16, d.images().length);
    Files.write(folder.resolve(part + "-images-idx3-ubyte"), images);
    header[3] = 1;
    byte[] labels = Arrays.copyOf(header, 8 + d.count());
    System.arraycopy(d.labels(), 0, labels, 8, d.count());
    Files.write(folder.resolve(part + "-labels-idx1-ubyte"), labels);
  }

  private static Cli train(Path out, String... more) {
    List<String> args =
        new ArrayList<>(List.of("train", "--data", shared.toString(), "--out", out.toString()));
    args.addAll(List.of(more));
    return Cli.run(args.toArray(String[]::new));
  }

  private static String metricsWithoutTimes(Path out) throws IOException {
    JsonObject o =
        JsonParser.parseString(Files.readString(out.resolve("metrics.json"))).getAsJsonObject();
    assertTrue(o.has("times"));
    o.remove("times");
    return o.toString();
  }

  @Test
  void writesReportFiguresAndMetrics() throws IOException {
    Cli ran = train(out, "--steps", "60", "--eval-every", "20", "--json");
    assertEquals(0, ran.code(), ran.err());
    Metrics metrics = Metrics.fromJson(ran.out());
    assertEquals(ran.out(), Files.readString(out.resolve("metrics.json")));
    assertEquals(List.of(20, 40, 60), metrics.runs().get(0).steps());
    assertEquals("784-100-100-100-10", metrics.settings().network());
    assertTrue(metrics.times().startToFirstStepSeconds() > 0);
    for (Metrics.Speed s : metrics.times().runs()) {
      double sum = s.share().values().stream().mapToDouble(v -> v).sum();
      assertEquals(1, sum, 1e-9, s.toString());
      assertTrue(s.share().get("gemm") > 0, s.toString());
      assertTrue(s.stepsPerSecond() > 0);
    }
    assertTrue(metrics.times().runs().get(1).share().get("batchNorm") > 0);
    assertEquals(0, metrics.times().runs().get(0).share().get("batchNorm"));
    for (String file : List.of("report.html", "figure1.svg")) {
      assertTrue(Files.size(out.resolve(file)) > 1000, file);
    }
  }

  @Test
  void theEnvironmentTellsHowManyThreadsComputed() throws IOException {
    String before = System.getProperty("fusednorm.threads");
    try {
      for (String backend : List.of("reference", "cpu")) {
        Path folder = out.resolve(backend);
        Cli ran = train(folder, "--steps", "1", "--backend", backend, "--threads", "3");
        assertEquals(0, ran.code(), ran.err());
        Metrics.Environment e = Metrics.read(folder.resolve("metrics.json")).environment();
        assertEquals(backend, e.backend());
        assertEquals(backend.equals("cpu") ? 3 : 1, e.threads());
      }
    } finally {
      if (before == null) {
        System.clearProperty("fusednorm.threads");
      } else {
        System.setProperty("fusednorm.threads", before);
      }
    }
  }

  @Test
  void theSameSeedGivesTheSameMetricsToTheBit() throws IOException {
    train(out.resolve("a"), "--steps", "45", "--eval-every", "20");
    train(out.resolve("b"), "--steps", "45", "--eval-every", "20");
    train(out.resolve("c"), "--steps", "45", "--eval-every", "20", "--seed", "2");
    String a = metricsWithoutTimes(out.resolve("a"));
    assertEquals(a, metricsWithoutTimes(out.resolve("b")));
    assertFalse(a.equals(metricsWithoutTimes(out.resolve("c"))));
  }

  @Test
  void killedAndResumedGivesTheSameMetrics() throws Exception {
    String[] settings = {"--steps", "3000", "--eval-every", "50"};
    Path whole = out.resolve("whole");
    Path killed = out.resolve("killed");
    assertEquals(0, train(whole, settings).code());
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx512m",
                "--enable-native-access=ALL-UNNAMED",
                "-Djava.awt.headless=true",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName(),
                "train",
                "--data",
                shared.toString(),
                "--out",
                killed.toString()));
    command.addAll(List.of(settings));
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(out.resolve("killed.log").toFile())
            .start();
    Path checkpoint = killed.resolve("checkpoint.safetensors");
    while (!Files.exists(checkpoint) && process.isAlive()) {
      Thread.sleep(5);
    }
    Thread.sleep(30);
    process.destroyForcibly().waitFor(1, TimeUnit.MINUTES);
    assertTrue(Files.exists(checkpoint), () -> read(out.resolve("killed.log")));
    assertFalse(Files.exists(killed.resolve("metrics.json")), "killed before its end");

    Cli resumed = train(killed, "--steps", "3000", "--eval-every", "50", "--resume");
    assertEquals(0, resumed.code(), resumed.err());
    assertEquals(metricsWithoutTimes(whole), metricsWithoutTimes(killed));
    Cli again = train(killed, "--steps", "3000", "--eval-every", "50", "--resume");
    assertEquals(0, again.code(), again.err());
    assertEquals(metricsWithoutTimes(whole), metricsWithoutTimes(killed));
  }

  private static String read(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      return e.toString();
    }
  }

  @Test
  void resumingWithOtherSettingsIsRefusedByName() throws IOException {
    assertEquals(0, train(out, "--steps", "20").code());
    byte[] before = Files.readAllBytes(out.resolve("checkpoint.safetensors"));
    Cli ran = train(out, "--steps", "20", "--sigma", "0.5", "--resume");
    assertEquals(2, ran.code());
    assertTrue(ran.err().contains("sigma 0.01, not 0.5"), ran.err());
    Files.write(out.resolve("checkpoint.safetensors"), Arrays.copyOf(before, before.length - 9));
    Cli truncated = train(out, "--steps", "20", "--resume");
    assertEquals(2, truncated.code(), truncated.err());
    assertTrue(truncated.err().contains("checkpoint.safetensors"), truncated.err());
    Files.write(out.resolve("checkpoint.safetensors"), before);
    assertEquals(0, train(out, "--steps", "20", "--resume").code());
    assertArrayEquals(before, Files.readAllBytes(out.resolve("checkpoint.safetensors")));
  }

  @Test
  void aFinishedTrainingGoesOnToMoreSteps() throws IOException {
    Path whole = out.resolve("whole");
    assertEquals(0, train(whole, "--steps", "70", "--eval-every", "20").code());
    assertEquals(0, train(out, "--steps", "40", "--eval-every", "20").code());
    Cli less = train(out, "--steps", "20", "--eval-every", "20", "--resume");
    assertEquals(2, less.code());
    assertTrue(less.err().contains("steps 40, not 20"), less.err());
    Cli more = train(out, "--steps", "70", "--eval-every", "20", "--resume");
    assertEquals(0, more.code(), more.err());
    assertEquals(metricsWithoutTimes(whole), metricsWithoutTimes(out));
    Cli offBeat = train(out, "--steps", "90", "--eval-every", "20", "--resume");
    assertEquals(2, offBeat.code(), "the evaluation at step 70 is none of a training of 90");
  }

  @Test
  void whatAKilledTrainingHadBegunToWriteIsDeleted() throws IOException {
    Files.createFile(out.resolve(".fusednorm-5b1c0de.tmp"));
    Files.createFile(out.resolve(".fusednorm-metrics.json-1.tmp"));
    Path other = Files.createFile(out.resolve("mine.tmp"));
    assertEquals(0, train(out, "--steps", "1").code());
    try (Stream<Path> inside = Files.list(out)) {
      List<Path> left = inside.filter(p -> p.toString().endsWith(".tmp")).toList();
      assertEquals(List.of(other), left);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "--steps,0",
    "--steps,many",
    "--eval-every,-5",
    "--learning-rate,0",
    "--learning-rate,NaN",
    "--sigma,-1",
    "--experiment,figure2",
    "--backend,abacus",
    "--data,/nowhere/at/all"
  })
  void badValuesAreNamedInOneLine(String option, String value) {
    Path folder = out.resolve("new");
    Cli ran = Cli.run("train", "--out", folder.toString(), option, value);
    assertFalse(Files.exists(folder), "made for nothing");
    assertEquals(2, ran.code(), ran.err());
    assertTrue(ran.err().contains(value.replace("/nowhere/at/all", "nowhere")), ran.err());
    assertEquals(1, ran.err().strip().lines().count(), ran.err());
  }

  @Test
  void everyExperimentRunsAndAFailedCheckIsCodeOne() throws IOException {
    for (Experiment e : Experiment.values()) {
      Path folder = out.resolve(e.toString());
      Cli ran = train(folder, "--experiment", e.toString(), "--steps", "2", "--check");
      assertEquals(1, ran.code(), "two steps reproduce nothing: " + ran.err() + ran.out());
      assertTrue(ran.err().contains("the claim was not reproduced"), ran.err());
      Metrics metrics = Metrics.read(folder.resolve("metrics.json"));
      assertFalse(metrics.check().passed());
      assertEquals(
          List.of(1L, 2L, 3L),
          metrics.check().thresholds().stream().map(Metrics.Threshold::seed).distinct().toList());
      assertTrue(Files.exists(folder.resolve("report.html")));
    }
  }
}
