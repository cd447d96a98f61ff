package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.StreamSupport;
import org.fusednorm.cli.Main;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The whole of {@code fusednorm train} on the CUDA engine, against the CPU's. */
class CudaTrainingTest {
  private static final String OUT = "fusednorm.test.out";
  private static final String BACKEND = "fusednorm.test.backend";

  /** Of losses, which follow from all weights; rounding differs, the data and the seed do not. */
  private static final double LOSS = 1e-4;

  /** Of accuracies: 20 of 10,000 images. */
  private static final double ACCURACY = 2e-3;

  @TempDir Path folder;

  @Test
  void curvesAreThoseOfTheCpu() throws Exception {
    JsonObject cpu = train("cpu");
    JsonObject cuda = train("cuda");
    if (!Emulator.onDevice()) {
      String engine = cuda.getAsJsonObject("environment").get("engine").getAsString();
      assertTrue(engine.contains("cuBLAS"), engine);
    }
    JsonArray expected = cpu.getAsJsonArray("runs");
    JsonArray actual = cuda.getAsJsonArray("runs");
    assertEquals(2, expected.size());
    for (int i = 0; i < expected.size(); i++) {
      JsonObject e = expected.get(i).getAsJsonObject();
      JsonObject a = actual.get(i).getAsJsonObject();
      assertEquals(e.get("name"), a.get("name"));
      near(e, a, "trainLoss", LOSS);
      near(e, a, "testAccuracy", ACCURACY);
      near(e.getAsJsonObject("gradientNorms"), a.getAsJsonObject("gradientNorms"), "values", LOSS);
      if (e.get("batchNorm").getAsBoolean()) {
        near(e, a, "testAccuracyPopulation", ACCURACY);
        double[] loss = numbers(a, "trainLoss");
        assertTrue(loss[1] < 0.8 && loss[1] < loss[0], loss[0] + ", " + loss[1]);
      }
    }
  }

  private JsonObject train(String backend) throws Exception {
    Path out = folder.resolve(backend);
    List<String> options =
        new ArrayList<>(
            List.of(
                "-D" + OUT + "=" + out,
                "-D" + BACKEND + "=" + backend,
                "-Djava.awt.headless=true"));
    if (!Emulator.onDevice()) {
      options.add(Emulator.withCublas(12));
    }
    Emulator.run(Emulator.Build.PLAIN, Train.class, options.toArray(String[]::new));
    String text = Files.readString(out.resolve("metrics.json"));
    return JsonParser.parseString(text).getAsJsonObject();
  }

  private static double[] numbers(JsonObject of, String name) {
    return StreamSupport.stream(of.getAsJsonArray(name).spliterator(), false)
        .mapToDouble(v -> v.getAsDouble())
        .toArray();
  }

  private static void near(JsonObject expected, JsonObject actual, String name, double tolerance) {
    double[] e = numbers(expected, name);
    double[] a = numbers(actual, name);
    assertTrue(e.length > 1, name);
    assertEquals(e.length, a.length, name);
    for (int i = 0; i < e.length; i++) {
      assertEquals(e[i], a[i], tolerance * Math.max(1, Math.abs(e[i])), name + " " + i);
    }
  }

  /** Runs in a JVM of its own. */
  static final class Train {
    public static void main(String[] args) {
      Main.main(
          new String[] {
            "train",
            "--backend=" + System.getProperty(BACKEND),
            "--steps=200",
            "--eval-every=100",
            "--out=" + System.getProperty(OUT)
          });
    }
  }
}
