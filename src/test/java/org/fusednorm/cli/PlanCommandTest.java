package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.util.List;
import org.fusednorm.cuda.CudaDriver;
import org.fusednorm.cuda.CudaImage;
import org.fusednorm.cuda.CudaPlan.Operation;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;

class PlanCommandTest {
  private static final String SHAPE = "NCHW:32x64x56x56";

  private static JsonObject plan(String... more) {
    String[] args = new String[more.length + 4];
    args[0] = "plan";
    args[1] = "--json";
    args[2] = "--arch";
    args[3] = "sm_90";
    System.arraycopy(more, 0, args, 4, more.length);
    return Cli.run(args).json();
  }

  private static JsonObject operation(JsonObject plan, int i) {
    return plan.getAsJsonArray("operations").get(i).getAsJsonObject();
  }

  @Test
  void everyOperationWithItsLeastBytes() {
    JsonObject plan = plan(SHAPE);
    assertEquals("[32, 64, 56, 56] NCHW", plan.get("shape").getAsString());
    assertEquals("F32", plan.get("dtype").getAsString());
    assertTrue(plan.get("note").getAsString().contains("not measurements"));
    JsonObject gpu = plan.getAsJsonObject("gpu");
    assertEquals(90, gpu.get("architecture").getAsInt());
    assertEquals(4.8e12, gpu.get("bytesPerSecond").getAsDouble());
    assertEquals("NVIDIA's data sheet", gpu.get("source").getAsString());
    long data = 4L * 32 * 64 * 56 * 56;
    long mask = data / 4 / 8;
    long[] least = {
      2 * data, 2 * data, 3 * data + mask, 3 * data, 3 * data, 4 * data + mask, 2 * data
    };
    for (int i = 0; i < least.length; i++) {
      JsonObject o = operation(plan, i);
      assertEquals(Operation.values()[i].toString(), o.get("operation").getAsString());
      assertEquals(least[i], o.get("minimalBytes").getAsLong());
      assertTrue(o.get("memoryBytes").getAsLong() >= least[i], o::toString);
      double seconds = 0;
      for (JsonElement l : o.getAsJsonArray("launches")) {
        seconds += l.getAsJsonObject().get("seconds").getAsDouble();
      }
      assertEquals(seconds, o.get("seconds").getAsDouble(), 1e-12);
      // Nothing is faster than the memory's peak.
      assertTrue(seconds > least[i] / 4.8e12, o::toString);
    }
    assertEquals(least.length, plan.getAsJsonArray("operations").size());
  }

  /** From the file that the build wrote, for this architecture. */
  @Test
  void registersAreWhatTheCompilerTold() throws IOException {
    Required.assume("nvcc", CudaImage.load().isPresent(), "built without the CUDA compiler");
    CudaImage image = CudaImage.load().get();
    for (String architecture : List.of("sm_80", "sm_90")) {
      int number = Integer.parseInt(architecture.substring(3));
      JsonObject plan =
          Cli.run("plan", "--json", "NC:60x100", "--arch", architecture, "--op", "infer").json();
      JsonArray launches = operation(plan, 0).getAsJsonArray("launches");
      assertEquals(2, launches.size());
      for (JsonElement l : launches) {
        String kernel = l.getAsJsonObject().get("kernel").getAsString();
        assertEquals(
            image.registers(kernel).get(number),
            l.getAsJsonObject().get("registers").getAsInt(),
            kernel);
        assertEquals(
            image.sharedBytes(kernel).get(number),
            l.getAsJsonObject().get("sharedBytes").getAsInt(),
            kernel);
      }
    }
  }

  @Test
  void waysDifferInLaunchesAndBytes() {
    String[] request = {"NCHW:128x256x56x56", "--op", "backward", "--way", "tickets"};
    JsonObject tickets = operation(plan(request), 0);
    assertEquals(1, tickets.getAsJsonArray("launches").size());
    request[4] = "parts";
    JsonObject parts = operation(plan(request), 0);
    assertEquals(3, parts.getAsJsonArray("launches").size());
    assertTrue(
        parts.get("memoryBytes").getAsLong() > tickets.get("memoryBytes").getAsLong(),
        parts::toString);
    List<JsonElement> possible = tickets.getAsJsonArray("possible").asList();
    assertTrue(possible.toString().contains("parts"), possible::toString);
  }

  @Test
  void bandwidthIsAnInput() {
    double seconds = operation(plan(SHAPE), 0).get("seconds").getAsDouble();
    JsonObject slower = plan(SHAPE, "--bandwidth", "480");
    assertEquals("--bandwidth", slower.getAsJsonObject("gpu").get("source").getAsString());
    assertTrue(operation(slower, 0).get("seconds").getAsDouble() > 5 * seconds);
  }

  @Test
  void tableIsReadableAndSaysThatItIsAModel() {
    for (String shape : List.of(SHAPE, "NHWC:128x56x56x256", "NC:1048576x64", "NCHW:32x2048x7x7")) {
      Cli ran = Cli.run("plan", shape, "--dtype", "BF16", "--arch", "sm_120");
      assertEquals(0, ran.code(), ran.err());
      ran.assertReadable();
      assertTrue(ran.out().contains("predictions of a model, not measurements"), ran.out());
      assertTrue(ran.out().contains("forward+add+relu"), ran.out());
      assertTrue(ran.out().contains("channel_coefficients"), ran.out());
      assertFalse(ran.out().contains("null"), ran.out());
    }
  }

  @Test
  void withoutDeviceAndArchitectureItIsSm90() {
    assumeFalse(CudaDriver.status().available(), "there is a GPU");
    JsonObject plan = Cli.run("plan", SHAPE, "--json").json();
    assertEquals(90, plan.getAsJsonObject("gpu").get("architecture").getAsInt());
    Cli forced = Cli.run("plan", SHAPE, "--backend", "cuda");
    assertEquals(2, forced.code());
    assertTrue(forced.err().contains("--arch plans for a GPU that is not here"), forced.err());
    assertEquals(1, forced.err().lines().count());
  }

  @Test
  void badInputIsOneLine() {
    String help = " (see fusednorm plan --help)";
    assertAll(
        () ->
            Cli.run("plan").assertRefused("fusednorm: Missing required parameter: 'SHAPE'" + help),
        () ->
            Cli.run("plan", SHAPE, "--arch", "ampere")
                .assertRefused("fusednorm: --arch must be as sm_90, not 'ampere'" + help),
        () ->
            Cli.run("plan", SHAPE, "--arch", "sm_70")
                .assertRefused(
                    "fusednorm: --arch: no GPU of sm_70 is known here, only sm_75, sm_80, sm_86,"
                        + " sm_89, sm_90, sm_100, sm_120"
                        + help),
        () ->
            Cli.run("plan", SHAPE, "--dtype", "U8")
                .assertRefused("fusednorm: --dtype must be F32, F16, BF16 or F64, not U8" + help),
        () ->
            Cli.run("plan", SHAPE, "--op", "sideways")
                .assertRefused(
                    "fusednorm: Invalid value for option '--op' (NAME): 'sideways' is none of"
                        + " forward, forward+relu, forward+add+relu, backward, backward+relu,"
                        + " backward+add+relu, infer"
                        + help),
        () ->
            Cli.run("plan", SHAPE, "--alignment", "2")
                .assertRefused(
                    "fusednorm: --alignment must be a power of two from 4, the bytes of F32, to 16,"
                        + " not 2"
                        + help),
        () ->
            Cli.run("plan", SHAPE, "--bandwidth", "0")
                .assertRefused(
                    "fusednorm: --bandwidth must be more than 0 and at most 1000000, not 0.0"
                        + help),
        () ->
            Cli.run("plan", SHAPE, "--backend", "cpu")
                .assertRefused(
                    "fusednorm: --backend must be cuda or as cuda:1, not cpu: others have no plan"
                        + help),
        () ->
            Cli.run("plan", "NC:60x101", "--arch", "sm_90", "--way", "tickets")
                .assertRefused(
                    "fusednorm: --way tickets is possible for none of the operations here" + help));
  }

  @Test
  void helpHasAnExample() {
    Cli ran = Cli.run("plan", "--help");
    assertEquals(0, ran.code());
    assertTrue(ran.out().contains("fusednorm plan NCHW:32x64x56x56 --dtype BF16"), ran.out());
  }
}
