package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.fusednorm.nn.Safetensors.Entry;
import org.fusednorm.nn.Safetensors.Info;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsTest {
  @TempDir Path directory;

  private static ByteBuffer random(long seed, int bytes) {
    byte[] data = new byte[bytes];
    new Random(seed).nextBytes(data);
    return ByteBuffer.allocateDirect(bytes).put(data).rewind();
  }

  private static Map<String, Entry> one(String name, Info info, ByteBuffer... windows) {
    return Map.of(name, Entry.of(info, windows));
  }

  private byte[] dataOf(SafetensorsReader reader, String name) throws IOException {
    ByteBuffer destination = ByteBuffer.allocate((int) reader.entry(name).bytes());
    reader.read(name, destination);
    assertEquals(0, destination.remaining());
    return destination.array();
  }

  private static byte[] bytes(ByteBuffer buffer) {
    byte[] all = new byte[buffer.remaining()];
    buffer.duplicate().get(all);
    return all;
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void everyTypeComesBack(DType type) throws IOException {
    Path file = directory.resolve("types.safetensors");
    Info info = new Info(type, 3, 1, 5);
    ByteBuffer data = random(type.ordinal(), 15 * type.bytes());
    Safetensors.write(file, one("w", info, data), Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertEquals(info, reader.require("w", Set.of(type), 3, 1, 5));
      assertArrayEquals(bytes(data), dataOf(reader, "w"));
    }
    assertEquals(0, data.position());
  }

  @Test
  void theBytesAreTheFormatsOwn() throws IOException {
    Path file = directory.resolve("exact.safetensors");
    ByteBuffer value = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(0, 1.5f);
    Safetensors.write(file, one("a", new Info(DType.F32, 1), value), Map.of("k", "<v>"));
    String json =
        "{\"__metadata__\":{\"k\":\"<v>\"},"
            + "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    int padded = (json.length() + 7) / 8 * 8;
    ByteBuffer expected = ByteBuffer.allocate(8 + padded + 4).order(ByteOrder.LITTLE_ENDIAN);
    expected.putLong(padded).put((json + " ".repeat(padded - json.length())).getBytes());
    expected.put(new byte[] {0, 0, (byte) 0xc0, 0x3f});
    assertArrayEquals(expected.array(), Files.readAllBytes(file));
  }

  @Test
  void scalarsAndEmptyTensorsAreTensors() throws IOException {
    Path file = directory.resolve("small.safetensors");
    Map<String, Entry> tensors = new LinkedHashMap<>();
    tensors.put("none", Entry.of(new Info(DType.F32, 0, 7)));
    tensors.put("scalar", Entry.of(new Info(DType.I64), random(1, 8)));
    tensors.put("nothing", Entry.of(new Info(DType.I64, 1L << 40, 0, 3)));
    tensors.put("end", Entry.of(new Info(DType.U8, 0)));
    Safetensors.write(file, tensors, Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      reader.requireNames(tensors.keySet());
      assertEquals(new Info(DType.I64), reader.require("scalar", Set.of(DType.I64)));
      assertArrayEquals(bytes(random(1, 8)), dataOf(reader, "scalar"));
      assertEquals(0, dataOf(reader, "none").length);
      assertEquals(0, dataOf(reader, "end").length);
      assertArrayEquals(new long[] {1L << 40, 0, 3}, reader.entry("nothing").shape());
    }
    Safetensors.write(file, Map.of(), Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertTrue(reader.names().isEmpty() && reader.metadata().isEmpty());
    }
  }

  @Test
  void namesAndMetadataAreAnyText() throws IOException {
    Path file = directory.resolve("unicode.safetensors");
    List<String> names =
        List.of("", "слой.вес", "層.重み", "\uD83D\uDE00", "a\"b\\c\n\u0001\u2028", "<&>");
    Map<String, Entry> tensors = new LinkedHashMap<>();
    Map<String, String> metadata = new LinkedHashMap<>();
    for (String name : names) {
      tensors.put(name, Entry.of(new Info(DType.F16, 2), random(name.hashCode(), 4)));
      metadata.put(name, name + name);
    }
    Safetensors.write(file, tensors, metadata);
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertEquals(names, List.copyOf(reader.names()));
      assertEquals(metadata, reader.metadata());
      for (String name : names) {
        assertArrayEquals(bytes(random(name.hashCode(), 4)), dataOf(reader, name));
      }
    }
  }

  @Test
  void everyTensorIsAlignedToItsElements() throws IOException {
    Path file = directory.resolve("aligned.safetensors");
    Map<String, Entry> tensors = new LinkedHashMap<>();
    DType[] types = DType.values();
    for (int i = 0; i < 3 * types.length; i++) {
      DType type = types[i % types.length];
      tensors.put("t" + i, Entry.of(new Info(type, 3), random(i, 3 * type.bytes())));
    }
    Safetensors.write(file, tensors, Map.of("note", "odd"));
    ByteBuffer all = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    long data = 8 + all.getLong(0);
    assertEquals(0, data % 8);
    SafetensorsHeader header =
        SafetensorsHeader.parse("f", all.slice(8, (int) data - 8), all.capacity() - data);
    header
        .tensors()
        .forEach((name, p) -> assertEquals(0, p.begin() % p.info().dtype().bytes(), name));
    try (SafetensorsReader reader = Safetensors.read(file)) {
      reader.requireNames(tensors.keySet());
      for (int i = 0; i < 3 * types.length; i++) {
        int bytes = 3 * types[i % types.length].bytes();
        assertArrayEquals(bytes(random(i, bytes)), dataOf(reader, "t" + i));
      }
    }
  }

  @Test
  void windowsAndPartsMakeOneTensor() throws IOException {
    Path file = directory.resolve("windows.safetensors");
    int size = 3_000_001;
    ByteBuffer data = random(5, size);
    Info info = new Info(DType.U8, size);
    ByteBuffer onHeap = ByteBuffer.wrap(bytes(data)).slice(1000, size - 1000);
    Safetensors.write(file, one("w", info, data.slice(0, 1000), onHeap), Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertArrayEquals(bytes(data), dataOf(reader, "w"));
      for (ByteBuffer part : List.of(ByteBuffer.allocateDirect(777), ByteBuffer.allocate(777))) {
        reader.read("w", size - 777, part);
        assertEquals(data.slice(size - 777, 777), part.flip());
        part.clear();
        assertThrows(IllegalArgumentException.class, () -> reader.read("w", size - 776, part));
        assertThrows(IllegalArgumentException.class, () -> reader.read("w", -1, part));
        assertThrows(IllegalArgumentException.class, () -> reader.read("w", part));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 7, 9})
  void sourcesOfAnotherSizeAreRefused(int bytes) throws IOException {
    Path file = directory.resolve("size.safetensors");
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                Safetensors.write(
                    file, one("w", new Info(DType.F32, 2), random(1, bytes)), Map.of()));
    assertTrue(e.getMessage().contains("'w'") && e.getMessage().contains("" + bytes), "" + e);
    assertEquals(List.of(), files());
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = directory.resolve("model.safetensors");
    Info info = new Info(DType.F64, 4);
    Safetensors.write(file, one("w", info, random(1, 32)), Map.of());
    byte[] before = Files.readAllBytes(file);
    Map<String, Entry> failing = new LinkedHashMap<>();
    failing.put("w", Entry.of(info, random(2, 32)));
    failing.put(
        "v",
        new Entry(
            info,
            out -> {
              out.write(random(3, 16));
              // The half-written file stands beside the old one, never in its place.
              assertEquals(2, files().size());
              assertArrayEquals(before, Files.readAllBytes(file));
              throw new IOException("the device is gone");
            }));
    IOException e =
        assertThrows(IOException.class, () -> Safetensors.write(file, failing, Map.of()));
    assertEquals("the device is gone", e.getMessage());
    assertArrayEquals(before, Files.readAllBytes(file));
    assertEquals(List.of(file), files());

    Safetensors.write(file, one("w", info, random(2, 32)), Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertArrayEquals(bytes(random(2, 32)), dataOf(reader, "w"));
    }
    assertEquals(List.of(file), files());
  }

  private List<Path> files() throws IOException {
    try (Stream<Path> all = Files.list(directory)) {
      return all.toList();
    }
  }

  @Test
  void whatCannotBeWrittenIsRefusedFirst() throws IOException {
    Path file = directory.resolve("refused.safetensors");
    Entry empty = Entry.of(new Info(DType.F32, 0));
    for (String name : List.of("__metadata__", "half \uD83D of a pair")) {
      assertThrows(
          IllegalArgumentException.class,
          () -> Safetensors.write(file, Map.of(name, empty), Map.of()));
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> Safetensors.write(file, Map.of(), Map.of("k", "\uDE00")));
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () -> Safetensors.write(file, Map.of(), Map.of("k", "v".repeat(100_000_000))));
    assertTrue(e.getMessage().contains("header"), e.getMessage());
    assertEquals(List.of(), files());
    Path nowhere = directory.resolve("none").resolve("file");
    assertThrows(NoSuchFileException.class, () -> Safetensors.write(nowhere, Map.of(), Map.of()));
    assertThrows(NoSuchFileException.class, () -> Safetensors.read(nowhere));
    assertThrows(IllegalArgumentException.class, () -> new Info(DType.F32, 3, -1));
    assertThrows(IllegalArgumentException.class, () -> new Info(DType.F64, 1L << 30, 1L << 30));
  }

  @Test
  void requirementsNameWhatTheyMiss() throws IOException {
    Path file = directory.resolve("bn.safetensors");
    Map<String, Entry> tensors = new LinkedHashMap<>();
    tensors.put("bn.weight", Entry.of(new Info(DType.F32, 4), random(1, 16)));
    tensors.put("bn.extra", Entry.of(new Info(DType.F32), random(2, 4)));
    Safetensors.write(file, tensors, Map.of());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      Set<DType> floats = Set.of(DType.F32, DType.F64);
      assertEquals(new Info(DType.F32, 4), reader.require("bn.weight", floats, 4));
      assertMessage(
          () -> reader.require("bn.weight", floats, 4, 1),
          file + ": tensor 'bn.weight': shape [4], required is [4, 1]");
      assertMessage(
          () -> reader.require("bn.weight", Set.of(DType.I64, DType.F64), 4),
          file + ": tensor 'bn.weight': dtype F32, required is one of F64, I64");
      assertMessage(
          () -> reader.require("bn.bias", floats, 4),
          file + ": tensor 'bn.bias': missing; the file has 'bn.weight', 'bn.extra'");
      assertMessage(
          () -> reader.requireNames(List.of("bn.weight", "bn.bias")),
          file + ": missing tensors 'bn.bias'; unexpected tensors 'bn.extra'");
    }
  }

  @Test
  void aFileCutWhileOpenIsTruncated() throws IOException {
    Path file = directory.resolve("cut.safetensors");
    Safetensors.write(file, one("w", new Info(DType.F32, 100), random(1, 400)), Map.of());
    byte[] whole = Files.readAllBytes(file);
    try (SafetensorsReader reader = Safetensors.read(file)) {
      Files.write(file, Arrays.copyOf(whole, whole.length - 1));
      CheckpointException e =
          assertThrows(CheckpointException.class, () -> reader.read("w", ByteBuffer.allocate(400)));
      assertTrue(e.getMessage().contains("'w': truncated"), e.getMessage());
    }
  }

  private static void assertMessage(Executable call, String message) {
    assertEquals(message, assertThrows(CheckpointException.class, call).getMessage());
  }

  @Test
  void theHeaderMayListTensorsInAnyOrder() throws IOException {
    Path file = directory.resolve("order.safetensors");
    String json =
        "{\"b\":{\"data_offsets\":[1,3],\"shape\":[2],\"dtype\":\"U8\"},"
            + "\"a\":{\"shape\":[],\"dtype\":\"U8\",\"data_offsets\":[0,1]}}";
    ByteBuffer all = ByteBuffer.allocate(8 + json.length() + 3).order(ByteOrder.LITTLE_ENDIAN);
    all.putLong(json.length()).put(json.getBytes(StandardCharsets.UTF_8));
    all.put(new byte[] {1, 2, 3});
    Files.write(file, all.array());
    try (SafetensorsReader reader = Safetensors.read(file)) {
      assertEquals(List.of("b", "a"), List.copyOf(reader.names()));
      assertArrayEquals(new byte[] {2, 3}, dataOf(reader, "b"));
      assertArrayEquals(new byte[] {1}, dataOf(reader, "a"));
    }
  }
}
