package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class ProgressTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final PrintStream err = new PrintStream(bytes, true, StandardCharsets.UTF_8);

  @Test
  void withoutTerminalALineForEachTenth() {
    try (Progress p = Progress.start("train", 1000, err, 0)) {
      for (int i = 0; i < 1000; i++) {
        p.note(i + " so far");
        p.advance(1);
      }
    }
    String[] lines = text().split("\n");
    assertEquals(10, lines.length);
    assertEquals("train: 100 of 1000 (10 %), 99 so far", lines[0]);
    assertEquals("train: 1000 of 1000 (100 %), 999 so far", lines[9]);
  }

  @Test
  void onATerminalABar() {
    try (Progress p = Progress.start("train", 10, err, 80)) {
      p.note("97 %");
      p.advance(10);
    }
    assertTrue(text().contains("10/10"), text());
    assertTrue(text().contains("97 %"), text());
  }

  @Test
  void theBarIsNotLongerThanTheTerminalIsWide() {
    try (Progress p = Progress.start("train", 10, err, 40)) {
      p.note("10.0 % without batch norm, 61.3 % with batch norm");
      p.advance(10);
    }
    for (String state : text().split("[\\r\\n]+")) {
      assertTrue(state.length() <= 40, state);
    }
  }

  private String text() {
    return bytes.toString(StandardCharsets.UTF_8);
  }
}
