package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
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

  private List<JsonObject> rows(Class<?> main, String arguments) throws Exception {
    Path result = folder.resolve("result.json");
    Emulator.run(Build.PLAIN, main, "-D" + ARGUMENTS + "=" + result + " " + arguments);
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
        rows(Norm.class, "100 F32,BF16 NCHW:4x3x4x4 NHWC:2x3x3x8 NC:40x13 NCHW:2x5x7x7");
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

  @Test
  void trainingStepsHaveARate() throws Exception {
    List<JsonObject> rows = rows(Training.class, "0.2 cuda 2 32 F32,BF16");
    assertEquals(3, rows.size());
    for (JsonObject r : rows) {
      assertFalse(r.has("error"), r::toString);
      assertTrue(r.get("stepsPerSecond").getAsDouble() > 0, r::toString);
    }
    assertEquals("ResNet-50 layers", rows.get(2).get("network").getAsString());
  }

  /** What was not written, or has another value, is no result. */
  @Test
  void wrongOutputsAreSeen() throws Exception {
    assertTrue(Emulator.run(Build.PLAIN, Wrong.class).contains("##seen 3"));
  }

  /** In those JVMs. */
  static final class Wrong {
    public static void main(String[] none) {
      CudaDevice gpu = CudaDriver.status().devices().get(0);
      int seen = 0;
      try (GpuClock clock = new GpuClock(gpu)) {
        Backend b = clock.backend();
        Shape s = Shape.nchw(4, 3, 4, 4);
        try (GpuNormWork work = new GpuNormWork(clock, b, gpu, s, DType.F32)) {
          Tensor y = b.empty(s, DType.F32);
          clock.poison(y);
          seen += fails(work, y) ? 1 : 0; // nothing was written
          y.fillZero();
          seen += fails(work, y) ? 1 : 0; // not the values
          float[] right = work.expected("forward");
          y.copyFrom(right);
          work.check("forward", y);
          right[right.length / 2] = Float.NaN; // one element, in a channel that is compared
          seen += fails(work, y.copyFrom(right)) ? 1 : 0;
        }
      }
      System.out.println("##seen " + seen);
    }

    private static boolean fails(GpuNormWork work, Tensor y) {
      try {
        work.check("forward", y);
        return false;
      } catch (IllegalStateException e) {
        return true;
      }
    }
  }

  /** In those JVMs. */
  static final class Norm {
    public static void main(String[] none) throws Exception {
      GpuNorm.main(System.getProperty(ARGUMENTS).split(" "));
    }
  }

  /** In those JVMs. */
  static final class Training {
    public static void main(String[] none) throws Exception {
      GpuTraining.main(System.getProperty(ARGUMENTS).split(" "));
    }
  }
}
