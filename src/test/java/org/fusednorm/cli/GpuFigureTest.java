package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The picture of a GPU's speeds, from numbers that are made up here and measured nowhere. */
class GpuFigureTest {
  private static final String MADE_UP_OURS =
      """
      {"info": {"gpu": "made-up GPU"}, "rows": [
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "F32", "operation": "copy",
         "bytes": 2000000, "seconds": 2e-6},
        {"peer": "fusednorm", "shape": "NC:8x4", "dtype": "F32", "operation": "forward",
         "bytes": 2000000, "seconds": 4e-6},
        {"peer": "fusednorm", "shape": "NC:80x4", "dtype": "F32", "operation": "forward",
         "bytes": 200000000, "seconds": 4e-4},
        {"peer": "fusednorm", "shape": "NC:80x4", "dtype": "F32", "operation": "infer",
         "bytes": 0, "seconds": null, "error": "made up"}]}
      """;
  private static final String MADE_UP_PEERS =
      """
      {"info": {"gpu": "made-up GPU"}, "rows": [
        {"peer": "limit", "shape": "NC:8x4", "dtype": "F32", "operation": "add",
         "bytes": 3000000, "seconds": 3e-6},
        {"peer": "PyTorch", "shape": "NC:8x4", "dtype": "F32", "operation": "backward",
         "bytes": 3000000, "seconds": 9e-6},
        {"peer": "cuDNN", "shape": "NC:8x4", "dtype": "F32", "error": "made up"}]}
      """;

  @TempDir private Path folder;

  @Test
  void aPanelForWhatThereIs() throws Exception {
    Files.writeString(folder.resolve("ours.json"), MADE_UP_OURS);
    Files.writeString(folder.resolve("peers.json"), MADE_UP_PEERS);
    GpuFigure.main(new String[] {folder.toString()});
    String svg = Files.readString(folder.resolve("roofline.svg"));
    DocumentBuilderFactory.newInstance()
        .newDocumentBuilder()
        .parse(new ByteArrayInputStream(svg.getBytes(StandardCharsets.UTF_8)));
    for (String text :
        new String[] {
          "Batch normalization on made-up GPU",
          "Forward, training",
          "Backward",
          "fusednorm",
          "PyTorch",
          "copy",
          "add",
          "least megabytes to read and write",
          "100"
        }) {
      assertTrue(svg.contains(text), text);
    }
    // Nothing was timed of these.
    assertFalse(svg.contains("Inference"));
    assertFalse(svg.contains("cuDNN"));
  }

  @Test
  void withoutTimesOrDamagedItSaysSo() throws IOException {
    IOException none = assertThrows(IOException.class, () -> GpuFigure.svg(folder));
    assertEquals(folder + " has no ours.json or peers.json with times", none.getMessage());
    for (String damaged : new String[] {"{", "[]", "{\"rows\": [{}]}", "{\"rows\": []}"}) {
      Files.writeString(folder.resolve("ours.json"), damaged);
      IOException e = assertThrows(IOException.class, () -> GpuFigure.svg(folder), damaged);
      assertTrue(e.getMessage().contains("ours.json is damaged"), e.getMessage());
    }
  }
}
