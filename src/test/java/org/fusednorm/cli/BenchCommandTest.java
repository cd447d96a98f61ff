package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.Shape;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class BenchCommandTest {
  private static final String SHAPE = "NHWC:2x3x5x4";

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void jsonHasTheDocumentedFieldsAndMinimalBytes(String backend) {
    Cli ran =
        Cli.run("bench", "--backend", backend, "--shape", SHAPE, "--seconds", "0.1", "--json");
    JsonObject document = ran.json();
    assertEquals(backend + ":0", document.get("backend").getAsString());
    assertEquals("F32", document.get("dtype").getAsString());
    assertTrue(document.getAsJsonObject("machine").get("cores").getAsInt() > 0);
    JsonObject result = document.getAsJsonArray("results").get(0).getAsJsonObject();
    assertEquals("[2, 3, 5, 4] NHWC", result.get("shape").getAsString());
    Map<String, Long> bytes = new HashMap<>();
    for (JsonElement e : result.getAsJsonArray("operations")) {
      JsonObject t = e.getAsJsonObject();
      long moved = t.get("bytes").getAsLong();
      double seconds = t.get("seconds").getAsDouble();
      bytes.put(t.get("operation").getAsString(), moved);
      assertTrue(seconds > 0 && seconds < 0.1, t::toString);
      assertTrue(t.get("rounds").getAsInt() >= 3, t::toString);
      assertEquals(
          moved / seconds / 1e9, t.get("gigabytesPerSecond").getAsDouble(), 1e-9, t::toString);
      assertTrue(t.get("ofCopy").getAsDouble() > 0, t::toString);
    }
    long data = 2 * 3 * 5 * 4 * 4;
    assertEquals(
        Map.of(
            "copy", 2 * data,
            "forward", 2 * data,
            "forward+relu", 2 * data,
            "forward+add+relu", 3 * data,
            "backward", 3 * data,
            "backward+relu", 3 * data,
            "infer", 2 * data),
        bytes);
  }

  @Test
  void copyIsTheMeasureOfItself() {
    String[] args = {"bench", "--shape", SHAPE, "--seconds", "0.05", "--json"};
    JsonObject result = Cli.run(args).json().getAsJsonArray("results").get(0).getAsJsonObject();
    JsonObject copy = result.getAsJsonArray("operations").get(0).getAsJsonObject();
    assertEquals("copy", copy.get("operation").getAsString());
    assertEquals(1, copy.get("ofCopy").getAsDouble(), 1e-12);
  }

  @ParameterizedTest
  @ValueSource(strings = {"F32", "F16", "BF16", "F64"})
  void everyTypeHasATable(String type) {
    Cli ran =
        Cli.run("bench", "--shape", "NC:6x5", "--shape", SHAPE, "--dtype", type, "--seconds", ".1");
    assertEquals(0, ran.code(), ran.err());
    ran.assertReadable();
    List<String> lines = ran.out().lines().toList();
    assertEquals(2 + 2 * 7, lines.size(), ran.out());
    assertTrue(lines.get(1).matches("shape +type +operation +time +GB/s +of copy +rounds"));
    assertTrue(lines.get(3).startsWith("[6, 5] NC"), lines.get(3));
    assertTrue(lines.get(3).contains(" " + type + " "), lines.get(3));
  }

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void operandsThatChangeAreMeasuredCallByCall(String name) {
    Shape shape = Shape.nc(6, 5);
    try (Backend backend = Backends.open(name)) {
      try (Bench bench = new Bench(backend, shape, DType.F32, 10 * shape.bytes(DType.F32))) {
        for (Bench.Timing t : bench.run(0.05, part -> {})) {
          assertEquals(0, t.bytes() % shape.bytes(DType.F32), t::toString);
          assertTrue(t.seconds() > 0 && t.rounds() >= 3, t::toString);
        }
      }
      assertEquals(0, backend.memory().bytesInUse(), "bytes in use after the bench");
    }
  }

  @Test
  void gpusGetMoreOperandsThanTheirCacheHolds() {
    assertEquals(0, Bench.rotation(new Device("cpu", 0)));
    assertEquals(512 << 20, Bench.rotation(new Device("cuda", 1)));
  }

  @Test
  void medianIsTheMiddleOrTheMeanOfTheTwoThere() {
    assertEquals(2, Bench.median(new double[] {9, 1, 2}));
    assertEquals(1.5, Bench.median(new double[] {9, 1, 2, 0}));
  }

  @Test
  void badValuesAreRefusedInOneLine() {
    String form =
        " is no shape: write LAYOUT:AxBx.. with a layout of NC, NCL, NCHW, NCDHW, NLC, NHWC or"
            + " NDHWC and its extents in this order, such as NCHW:32x64x56x56 (see fusednorm bench"
            + " --help)";
    String help = " (see fusednorm bench --help)";
    assertAll(
        () ->
            Cli.run("bench", "--shape", "NCHW:1x2")
                .assertRefused(
                    "fusednorm: Invalid value for option '--shape' (SHAPE): 'NCHW:1x2'" + form),
        () ->
            Cli.run("bench", "--shape", "12")
                .assertRefused(
                    "fusednorm: Invalid value for option '--shape' (SHAPE): '12'" + form),
        () ->
            Cli.run("bench", "--shape", "NC:1x5")
                .assertRefused(
                    "fusednorm: Invalid value for option '--shape' (SHAPE): 'NC:1x5' has fewer than"
                        + " two values per channel, or no channel"
                        + help),
        () ->
            Cli.run("bench", "--dtype", "I64")
                .assertRefused("fusednorm: --dtype must be F32, F16, BF16 or F64, not I64" + help),
        () ->
            Cli.run("bench", "--seconds", "0")
                .assertRefused(
                    "fusednorm: --seconds must be more than 0 and at most 86400, not 0.0" + help));
  }

  @Test
  void helpHasAnExample() {
    Cli ran = Cli.run("bench", "--help");
    assertEquals(0, ran.code());
    assertTrue(ran.out().contains("fusednorm bench --shape NHWC:32x56x56x64"), ran.out());
  }
}
