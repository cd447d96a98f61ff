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

  /** In those JVMs. */
  static final class Norm {
    public static void main(String[] none) throws Exception {
      GpuNorm.main(System.getProperty(ARGUMENTS).split(" "));
    }
  }
}
