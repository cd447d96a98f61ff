package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Availability;
import org.fusednorm.Backends;
import org.fusednorm.host.NativeLibrary;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class InfoCommandTest {
  private final String forcedBefore = System.getProperty("fusednorm.backend");

  @AfterEach
  void restore() {
    force(forcedBefore);
  }

  private static void force(String backend) {
    if (backend == null) {
      System.clearProperty("fusednorm.backend");
    } else {
      System.setProperty("fusednorm.backend", backend);
    }
  }

  @Test
  void tellsEveryBackendWithCauseAndCure() {
    Cli ran = Cli.run("info");
    assertEquals(0, ran.code(), ran.err());
    ran.assertReadable();
    String flat = ran.out().replaceAll("\\s+", " ");
    for (Availability a : Backends.availability()) {
      assertTrue(flat.contains(a.name() + (a.available() ? " available" : " unavailable")), flat);
      assertTrue(flat.contains(a.cause()), flat);
      assertTrue(flat.contains(a.cure()), flat);
      for (Availability.Part p : a.parts()) {
        assertTrue(flat.contains(p.name()), flat);
      }
    }
    assertTrue(flat.contains("macOS, Windows and arm64 Linux compute"), flat);
  }

  @Test
  void jsonHasTheDocumentedFields() {
    force(null);
    JsonObject info = Cli.run("info", "--json").json();
    assertEquals(System.getProperty("java.vm.name"), text(info, "java", "vm"));
    assertTrue(info.get("version").getAsString().matches("\\d+\\.\\d+\\.\\d+.*"));
    JsonObject machine = info.getAsJsonObject("machine");
    assertEquals(Runtime.getRuntime().availableProcessors(), machine.get("cores").getAsInt());
    assertTrue(machine.get("memoryBytes").getAsLong() > machine.get("heapBytes").getAsLong());
    JsonObject library = info.getAsJsonObject("nativeLibrary");
    assertEquals(NativeLibrary.isAvailable(), library.get("available").getAsBoolean());
    List<String> names = new ArrayList<>();
    JsonArray backends = info.getAsJsonArray("backends");
    for (JsonElement b : backends) {
      names.add(b.getAsJsonObject().get("name").getAsString());
    }
    assertEquals(Backends.availability().stream().map(Availability::name).toList(), names);
    assertEquals("cuda", names.get(0));
    assertEquals("reference", names.get(names.size() - 1));
    assertEquals(Backends.choice().spec(), text(info, "chosen", "backend"));
    assertFalse(text(info, "chosen", "description").isEmpty());
    assertFalse(info.get("platforms").getAsString().isEmpty());
  }

  private static String text(JsonObject o, String part, String field) {
    return o.getAsJsonObject(part).get(field).getAsString();
  }

  @Test
  void partsOfTheCpuBackendAreTold() {
    JsonObject info = Cli.run("info", "--json", "--backend", "cpu").json();
    JsonObject cpu = info.getAsJsonArray("backends").get(0).getAsJsonObject();
    List<String> names = new ArrayList<>();
    for (JsonElement p : cpu.getAsJsonArray("parts")) {
      names.add(p.getAsJsonObject().get("name").getAsString());
      assertFalse(p.getAsJsonObject().get("value").getAsString().isEmpty(), p::toString);
    }
    assertEquals(List.of("threads", "kernels", "memory", "matrix products"), names);
  }

  @Test
  void forcedBackendIsChosenForThatReason() {
    force("reference");
    JsonObject chosen = Cli.run("info", "--json").json().getAsJsonObject("chosen");
    assertEquals("reference", chosen.get("backend").getAsString());
    assertTrue(chosen.get("forced").getAsBoolean());
    assertEquals("forced by -Dfusednorm.backend=reference", chosen.get("reason").getAsString());
  }

  @Test
  void optionRestrictsToOneBackend() {
    JsonObject info = Cli.run("info", "--json", "--backend", "reference").json();
    assertEquals(1, info.getAsJsonArray("backends").size());
    assertEquals("asked for by --backend", text(info, "chosen", "reason"));
  }

  @Test
  void unknownBackendIsRefused() {
    String names =
        String.join(", ", Backends.availability().stream().map(Availability::name).toList());
    String refusal = "fusednorm: no backend \"abacus\": there are " + names;
    Cli.run("info", "--backend", "abacus").assertRefused(refusal);
    force("abacus");
    Cli.run("info").assertRefused(refusal);
  }

  @Test
  void helpHasAnExample() {
    Cli ran = Cli.run("info", "--help");
    assertEquals(0, ran.code());
    assertTrue(ran.out().contains("fusednorm info --backend cuda"), ran.out());
  }
}
