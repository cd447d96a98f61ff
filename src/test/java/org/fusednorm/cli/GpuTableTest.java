package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The tables of a GPU's times, from numbers that are made up here and measured nowhere. */
class GpuTableTest {
  private static final String MADE_UP_OURS =
      """
      {"info": {"gpu": "made-up GPU"}, "rows": [
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "F32", "operation": "copy",
         "bytes": 1, "seconds": 1e-6},
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "F32", "operation": "forward",
         "bytes": 1, "seconds": 2e-6, "kernels": ["some_kernel"], "predictedSeconds": 1.5e-6},
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "BF16", "operation": "copy",
         "bytes": 1, "seconds": 1e-6},
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "BF16", "operation": "forward",
         "bytes": 1, "seconds": 2e-6},
        {"peer": "fusednorm", "shape": "NC:16x4", "dtype": "F32", "operation": "all",
         "bytes": 0, "error": "no time left"}]}
      """;
  private static final String MADE_UP_PEERS =
      """
      {"info": {"gpu": "made-up GPU"}, "rows": [
        {"peer": "limit", "shape": "NC:8x4", "dtype": "F32", "operation": "copy",
         "bytes": 1, "seconds": 1.8e-6},
        {"peer": "PyTorch", "shape": "NC:8x4", "dtype": "F32", "operation": "forward",
         "bytes": 1, "seconds": 5e-6},
        {"peer": "cuDNN", "shape": "NC:8x4", "dtype": "F32", "error": "takes no matrices"},
        {"peer": "PyTorch", "shape": "NC:16x4", "dtype": "F32", "operation": "forward",
         "bytes": 1, "seconds": 7e-6},
        {"peer": "PyTorch", "shape": "NC:8x4", "dtype": "BF16", "operation": "all",
         "error": "no time left"}]}
      """;
  private static final String MADE_UP_COMPILED =
      """
      {"rows": [{"peer": "torch.compile", "shape": "NC:8x4", "dtype": "F32",
        "operation": "forward+relu", "bytes": 1, "seconds": 9e-6}]}
      """;
  private static final String MADE_UP_BENCH =
      """
      {"backend": "cuda:0", "dtype": "F32", "results": [{"shape": "[8, 4] NC",
        "operations": [{"operation": "forward", "seconds": 3e-6}]}]}
      """;

  @TempDir private Path folder;

  private void file(String name, String content) throws IOException {
    Files.writeString(folder.resolve(name), content);
  }

  private String table() throws Exception {
    Required.assume("sources", Files.exists(Path.of("benchmarks/gpu/table.py")), "no source tree");
    Process python;
    try {
      python =
          new ProcessBuilder("python3", "benchmarks/gpu/table.py", folder.toString())
              .redirectErrorStream(true)
              .start();
    } catch (IOException e) {
      Required.assume("python3", false, "it cannot be started: " + e.getMessage());
      return null;
    }
    String out = new String(python.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, python.waitFor(), out);
    return out;
  }

  private static void assertHas(String table, String... texts) {
    for (String text : texts) {
      assertTrue(table.contains(text), () -> "'" + text + "' is not in\n" + table);
    }
  }

  @Test
  void everyTimeIsThereAndNamedWhereItIsAlone() throws Exception {
    file("ours.json", MADE_UP_OURS);
    file("peers.json", MADE_UP_PEERS);
    file("peers-compile.json", MADE_UP_COMPILED);
    file("bench.json", MADE_UP_BENCH);
    assertHas(
        table(),
        "| shape | type | operation | kernel | fusednorm | of limit | model | bench | PyTorch |"
            + " torch.compile |",
        "| NC:8x4 | F32 | forward | some_kernel | 2.0 | 90 % | 1.5 | 3.0 | 5.0 (2.50) |  |",
        "| NC:8x4 | BF16 | forward |  | 2.0 | 50 %* |  |  |  |  |",
        "| NC:16x4 | F32 | forward |  |  |  |  |  | 7.0 |  |",
        "| NC:8x4 | F32 | forward+relu |  |  |  |  |  |  | 9.0 |",
        "- forward, timed by fusednorm alone: NC:8x4 BF16\n",
        "- forward, timed by PyTorch alone: NC:16x4 F32\n",
        "- forward+relu, timed by torch.compile alone: NC:8x4 F32\n",
        "No time was left for fusednorm: NC:16x4 F32.",
        "No time was left for PyTorch: NC:8x4 BF16.",
        "cuDNN, NC:8x4 F32: takes no matrices\n",
        "| forward against PyTorch, NHWC and NC, F32 | 1.6 | 2.50 | 2.50 | 1 | met |");
  }

  @Test
  void benchStandsInForOurs() throws Exception {
    file("peers.json", MADE_UP_PEERS);
    file("bench.json", MADE_UP_BENCH);
    assertHas(table(), "| NC:8x4 | F32 | forward | (bench) | 3.0 | 60 % |  | 3.0 | 5.0 (1.67) |");
  }

  @Test
  void whatCannotBeReadIsNamed() throws Exception {
    file("ours.json", MADE_UP_OURS);
    file("peers.json", "{\"rows\": [{\"pe");
    file("peers-compile.json", "{\"info\": {\"gpu\": \"another GPU\"}, \"rows\": [{\"peer\": 3}]}");
    file(
        "ours-base.json", "{\"rows\": [{\"shape\": \"8x4\", \"dtype\": \"F32\", \"seconds\": 1}]}");
    String table = table();
    assertHas(
        table,
        "**peers.json cannot be read: ",
        "**peers-compile.json, row 0 is not understood: KeyError('dtype')**",
        "**ours-base.json, row 0 is not understood: ValueError('no shape: 8x4')**",
        "several GPUs are set beside each other: another GPU, made-up GPU**",
        "No peer was timed",
        "| NC:8x4 | F32 | forward | some_kernel | 2.0 | 50 %* |");
    assertFalse(table.contains("Without a partner"));
  }

  @Test
  void anEmptyFolderIsAnEmptyTable() throws Exception {
    assertEquals("", table());
  }
}
