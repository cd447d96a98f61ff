package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.fusednorm.bench.GpuTraining;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * That what {@code benchmarks/gpu/run} measures with runs to its end, on the emulator, whose times
 * are those of no GPU: they are looked at no further than that they are there.
 */
class GpuMeasurementTest {
  private static final String ARGUMENTS = "fusednorm.test.arguments";

  @TempDir private Path folder;

  private List<JsonObject> rows(Class<?> main, String arguments, String... options)
      throws Exception {
    Path result = folder.resolve("result.json");
    List<String> all = new ArrayList<>(List.of(options));
    all.add("-D" + ARGUMENTS + "=" + result + " " + arguments);
    Emulator.run(Build.PLAIN, main, all.toArray(String[]::new));
    return read(result);
  }

  private static List<JsonObject> read(Path result) throws IOException {
    JsonObject document = JsonParser.parseString(Files.readString(result)).getAsJsonObject();
    List<JsonObject> rows = new ArrayList<>();
    for (JsonElement e : document.getAsJsonArray("rows")) {
      rows.add(e.getAsJsonObject());
    }
    return rows;
  }

  @Test
  void everyOperationIsCheckedAndTimed() throws Exception {
    List<JsonObject> rows =
        rows(Norm.class, "1000 F32,BF16 NCHW:4x3x4x4 NHWC:2x3x3x8 NC:40x13 NCHW:2x5x7x7");
    assertEquals(2 * 4 * GpuNormWork.OPERATIONS.size(), rows.size());
    for (JsonObject r : rows) {
      assertFalse(r.has("error"), r::toString);
      assertTrue(r.get("checked").getAsBoolean());
      assertTrue(r.get("seconds").getAsDouble() > 0);
      boolean copy = r.get("operation").getAsString().equals("copy");
      assertEquals(!copy, r.has("predictedSeconds"), r::toString);
      assertEquals(!copy, r.has("kernels"));
    }
  }

  /** Both networks, with rounding alone between what they compute on the CPU and by CUDA graphs. */
  @Test
  void trainingDoesWhatTheCpuDoes() throws Exception {
    String[] cublas = Emulator.onDevice() ? new String[0] : new String[] {Emulator.withCublas(12)};
    List<JsonObject> cuda = rows(Training.class, "0.01 cuda 3 7 F32,BF16", cublas);
    Path result = folder.resolve("cpu.json");
    GpuTraining.main(new String[] {result.toString(), "0.01", "cpu", "3", "7", "F32,BF16"});
    List<JsonObject> cpu = read(result);
    assertEquals(3, cpu.size());
    assertEquals(3, cuda.size());
    for (int i = 0; i < 3; i++) {
      JsonObject e = cpu.get(i);
      JsonObject a = cuda.get(i);
      assertFalse(e.has("error") || a.has("error"), () -> e + " " + a);
      assertTrue(a.get("stepsPerSecond").getAsDouble() > 0);
      double[] expected = numbers(e);
      double[] actual = numbers(a);
      double tolerance = a.get("dtype").getAsString().equals("F32") ? 1e-4 : 1e-3;
      assertArrayEquals(expected, actual, tolerance * expected[0], a::toString);
    }
  }

  private static double[] numbers(JsonObject row) {
    if (row.has("gradientNorm")) {
      return new double[] {row.get("gradientNorm").getAsDouble()};
    }
    double[] losses =
        row.getAsJsonArray("losses").asList().stream().mapToDouble(v -> v.getAsDouble()).toArray();
    assertEquals(5, losses.length);
    return losses;
  }

  /** In those JVMs. */
  static final class Training {
    public static void main(String[] none) throws Exception {
      GpuTraining.main(System.getProperty(ARGUMENTS).split(" "));
    }
  }

  /** In those JVMs. */
  static final class Norm {
    public static void main(String[] none) throws Exception {
      GpuNorm.main(System.getProperty(ARGUMENTS).split(" "));
    }
  }
}
