package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.cuda.TuningFile.Choice;
import org.fusednorm.cuda.TuningFile.Key;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is kept of the autotuner's findings, and what becomes of a file that is something else. */
class TuningFileTest {
  @TempDir private Path folder;
  private Path path;
  private TuningFile file;

  @BeforeEach
  void open() {
    path = folder.resolve("fusednorm").resolve("tuning.json");
    file = new TuningFile(path);
  }

  private static Choice choice(long outer, String way) {
    Key key = new Key("GPU", "13.0", "ab12", "forward", true, outer, 64, 3136, "F32", 16);
    return new Choice(key, way, Map.of(way, 12.5, "another", 20.0));
  }

  @Test
  void choicesAreReadAsTheyWereWritten() throws IOException {
    assertEquals(Map.of(), file.read());
    file.add(List.of(choice(1, "tickets"), choice(2, "rr_c4")));
    file.add(List.of(choice(3, "parts")));
    assertEquals(
        List.of(choice(1, "tickets"), choice(2, "rr_c4"), choice(3, "parts")),
        List.copyOf(file.read().values()));
    JsonObject json = JsonParser.parseString(Files.readString(path)).getAsJsonObject();
    assertEquals("fusednorm tuning", json.get("format").getAsString());
    assertEquals(1, json.get("version").getAsInt());
    JsonObject second = json.getAsJsonArray("choices").get(1).getAsJsonObject();
    assertEquals("rr_c4", second.get("way").getAsString());
    assertEquals(12.5, second.getAsJsonObject("microseconds").get("rr_c4").getAsDouble());
    assertEquals(2, second.get("outer").getAsLong());
  }

  @Test
  void aNewChoiceTakesTheOldOnesPlace() throws IOException {
    file.add(List.of(choice(1, "tickets"), choice(2, "parts")));
    file.add(List.of(choice(1, "rr_c1")));
    assertEquals(
        List.of(choice(2, "parts"), choice(1, "rr_c1")), List.copyOf(file.read().values()));
  }

  @Test
  void theOldestAreForgotten() throws IOException {
    List<Choice> many = new ArrayList<>();
    for (int i = 0; i < 4100; i++) {
      many.add(choice(i, "parts"));
    }
    file.add(many);
    Map<Key, Choice> kept = file.read();
    assertEquals(4096, kept.size());
    assertFalse(kept.containsKey(many.get(3).of()));
    assertTrue(kept.containsKey(many.get(4).of()));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "{",
        "[]",
        "null",
        "{\"format\": \"something else\", \"version\": 1, \"choices\": []}",
        "{\"format\": \"fusednorm tuning\", \"version\": 2, \"choices\": []}",
        "{\"format\": \"fusednorm tuning\", \"version\": 1}",
        "{\"format\": \"fusednorm tuning\", \"version\": 1, \"choices\": [{\"gpu\": \"GPU\"}]}",
        "{\"format\": \"fusednorm tuning\", \"version\": 1, \"choices\": [null]}",
        "{\"format\": \"fusednorm tuning\", \"version\": \"one\", \"choices\": []}",
      })
  void anythingElseIsToldByOneLineAndReplaced(String content) throws IOException {
    Files.createDirectories(path.getParent());
    Files.writeString(path, content);
    IOException e = assertThrows(IOException.class, file::read);
    assertTrue(e.getMessage().startsWith(path.toString()), e.getMessage());
    assertEquals(1, e.getMessage().lines().count());
    file.add(List.of(choice(1, "tickets")));
    assertEquals(List.of(choice(1, "tickets")), List.copyOf(file.read().values()));
  }

  @Test
  void aFolderInItsPlaceIsAnErrorAndNothingIsLeftBehind() throws IOException {
    Files.createDirectories(path.resolve("full"));
    assertThrows(IOException.class, file::read);
    assertThrows(IOException.class, () -> file.add(List.of(choice(1, "tickets"))));
    try (Stream<Path> left = Files.list(path.getParent())) {
      assertTrue(left.noneMatch(f -> f.toString().endsWith(".tmp")));
    }
  }

  @Test
  void threadsLoseNothingOfEachOther() throws Exception {
    List<Thread> threads = new ArrayList<>();
    List<Throwable> failures = new ArrayList<>();
    for (int t = 0; t < 4; t++) {
      long first = 100L * t;
      Thread thread =
          new Thread(
              () -> {
                for (long i = first; i < first + 10; i++) {
                  try {
                    new TuningFile(path).add(List.of(choice(i, "parts")));
                  } catch (IOException | RuntimeException e) {
                    failures.add(e);
                  }
                }
              });
      threads.add(thread);
      thread.start();
    }
    for (Thread t : threads) {
      t.join();
    }
    assertEquals(List.of(), failures);
    assertEquals(40, file.read().size());
  }
}
