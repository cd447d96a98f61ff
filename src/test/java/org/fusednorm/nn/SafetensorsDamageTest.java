package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Files made byte by byte, each wrong in one way. */
class SafetensorsDamageTest {
  @TempDir Path directory;

  private static byte[] file(long headerLength, byte[] header, int dataBytes) {
    return ByteBuffer.allocate(8 + header.length + dataBytes)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(headerLength)
        .put(header)
        .array();
  }

  private static byte[] file(String json, int dataBytes) {
    byte[] header = json.getBytes(StandardCharsets.UTF_8);
    return file(header.length, header, dataBytes);
  }

  private static String tensor(String dtype, String shape, String offsets) {
    return "{'dtype':'" + dtype + "','shape':" + shape + ",'data_offsets':" + offsets + "}";
  }

  /** A file whose header is the text with ' for ". */
  private static Arguments damaged(String what, String json, int dataBytes, String... said) {
    return arguments(what, file(json.replace('\'', '"'), dataBytes), said);
  }

  private static Arguments one(String what, String tensor, int dataBytes, String... said) {
    return damaged(what, "{'w':" + tensor + "}", dataBytes, said);
  }

  static Stream<Arguments> lengths() {
    byte[] good = "{}".getBytes(StandardCharsets.UTF_8);
    return Stream.of(
        arguments("empty file", new byte[0], new String[] {"truncated", "0 bytes"}),
        arguments("seven bytes", new byte[7], new String[] {"truncated", "7 bytes"}),
        arguments("no header", new byte[8], new String[] {"header starts with ''"}),
        arguments("beyond", file(3, good, 0), new String[] {"length 3", "beyond the file of 10"}),
        arguments("100 MB", file(100_000_001, good, 0), new String[] {"100000001 is over"}),
        arguments("2^64 - 1", file(-1, good, 0), new String[] {"18446744073709551615 is over"}),
        arguments("2^32", file(1L << 32, good, 0), new String[] {"4294967296 is over"}),
        arguments("trailing", file("{}", 5), new String[] {"5 trailing bytes"}),
        arguments(
            "not UTF-8",
            file(4, new byte[] {'{', (byte) 0xc3, '(', '}'}, 0),
            new String[] {"not UTF-8"}));
  }

  static Stream<Arguments> json() {
    String w = "'w':" + tensor("U8", "[1]", "[0,1]");
    return Stream.of(
        damaged("array", "[]", 0, "starts with '['"),
        damaged("space first", " {}", 0, "starts with ' '"),
        damaged("byte order mark", "\uFEFF{}", 0, "header starts with"),
        damaged("open", "{", 0, "malformed JSON"),
        damaged("cut in a name", "{'w", 0, "malformed JSON"),
        damaged("trailing comma", "{" + w + ",}", 1, "malformed JSON"),
        damaged("no quotes", "{w:1}", 0, "malformed JSON"),
        damaged("comment", "{/**/}", 0, "malformed JSON"),
        damaged("equals sign", "{'w'=1}", 0, "malformed JSON"),
        damaged("raw newline in a name", "{'w\n':1}", 0, "malformed JSON"),
        damaged("half a surrogate pair", "{'\\ud800':1}", 0, "surrogate"),
        damaged("second value", "{}{}", 0, "malformed JSON"),
        damaged("text behind", "{}x", 0, "malformed JSON"),
        damaged("zero padding", "{}\0\0", 0, "malformed JSON"),
        damaged("depth bomb", "{'w':" + "[".repeat(100_000), 0, "'w'", "malformed JSON"),
        damaged("object bomb", "{'w':" + "{'shape':".repeat(100_000), 0, "'w'", "malformed JSON"),
        damaged("tensor is null", "{'w':null}", 0, "'w'", "malformed JSON"),
        damaged("tensor is a number", "{'w':1}", 0, "'w'", "malformed JSON"),
        damaged("same name", "{" + w + "," + w + "}", 1, "'w': stands twice"),
        damaged(
            "same name escaped",
            "{" + w + "," + w.replace("'w'", "'\\u0077'") + "}",
            1,
            "'w': stands twice"),
        damaged("two metadata", "{'__metadata__':{},'__metadata__':{}}", 0, "__metadata__ twice"),
        damaged("metadata number", "{'__metadata__':{'k':1}}", 0, "'k' is NUMBER"),
        damaged("metadata null", "{'__metadata__':null}", 0, "__metadata__", "malformed JSON"),
        damaged("metadata key", "{'__metadata__':{'k':'','k':''}}", 0, "'k' stands twice"));
  }

  static Stream<Arguments> tensors() {
    return Stream.of(
        one("unknown dtype", tensor("F33", "[1]", "[0,1]"), 1, "unknown dtype 'F33'"),
        one("lower case", tensor("f32", "[1]", "[0,4]"), 4, "unknown dtype 'f32'"),
        one("foreign dtype", tensor("F8_E4M3", "[1]", "[0,1]"), 1, "unsupported dtype 'F8_E4M3'"),
        one("dtype number", "{'dtype':32,'shape':[],'data_offsets':[0,1]}", 1, "dtype is NUMBER"),
        one("no dtype", "{'shape':[1],'data_offsets':[0,1]}", 1, "lacks"),
        one("no shape", "{'dtype':'U8','data_offsets':[0,1]}", 1, "lacks"),
        one("no offsets", "{'dtype':'U8','shape':[1]}", 1, "lacks"),
        one("field twice", "{'shape':[1],'shape':[1]}", 1, "has shape twice"),
        one("unknown field", "{'shape':[1],'strides':[1]}", 1, "unknown field 'strides'"),
        one("shape is a number", tensor("U8", "1", "[0,1]"), 1, "malformed JSON"),
        one("string in shape", tensor("U8", "['1']", "[0,1]"), 1, "shape holds STRING"),
        one("negative dimension", tensor("U8", "[-1]", "[0,1]"), 1, "shape holds '-1'"),
        one("fraction", tensor("U8", "[1.5]", "[0,1]"), 1, "shape holds '1.5'"),
        one("whole fraction", tensor("U8", "[1.0]", "[0,1]"), 1, "shape holds '1.0'"),
        one("exponent", tensor("U8", "[1e3]", "[0,1000]"), 1000, "shape holds '1e3'"),
        one("minus zero", tensor("U8", "[1]", "[-0,1]"), 1, "data_offsets holds '-0'"),
        one("leading zero", tensor("U8", "[01]", "[0,1]"), 1, "malformed JSON"),
        one("NaN", tensor("U8", "[NaN]", "[0,1]"), 1, "malformed JSON"),
        one("2^64", tensor("U8", "[18446744073709551616]", "[0,0]"), 0, "1844674407370955161"),
        one("shape overflow", tensor("U8", "[4294967296,4294967296]", "[0,0]"), 0, "overflows"),
        one("byte overflow", tensor("F64", "[999999999999999999,2]", "[0,0]"), 0, "overflows"),
        one("many dimensions", tensor("U8", "[1" + ",1".repeat(64) + "]", "[0,1]"), 1, "over 64"),
        one("shape too small", tensor("F32", "[3]", "[0,16]"), 16, "takes 12 bytes", "hold 16"),
        one("shape too large", tensor("F32", "[5]", "[0,16]"), 16, "takes 20 bytes", "hold 16"),
        one("scalar of none", tensor("U8", "[]", "[0,0]"), 0, "takes 1 bytes", "hold 0"),
        one("negative offset", tensor("U8", "[1]", "[-1,0]"), 1, "data_offsets holds '-1'"),
        one("backwards", tensor("U8", "[1]", "[1,0]"), 1, "[1, 0] end before they begin"),
        one("one offset", tensor("U8", "[1]", "[1]"), 1, "[1] are not two"),
        one("three offsets", tensor("U8", "[1]", "[0,1,2]"), 1, "[0, 1, 2] are not two"),
        one("cut short", tensor("F32", "[4]", "[0,16]"), 15, "beyond the file, which holds 15"),
        one("byte too many", tensor("F32", "[4]", "[0,16]"), 17, "1 trailing bytes"),
        one("hole at the start", tensor("U8", "[1]", "[1,2]"), 2, "[1, 2] leave a hole after 0"),
        two("hole between", "[0,2]", "[3,5]", 5, "'v'", "leave a hole after 2"),
        two("overlap", "[0,2]", "[1,3]", 3, "'v'", "overlap the tensor that ends at 2"),
        two("same place", "[0,2]", "[0,2]", 2, "overlap the tensor that ends at 2"),
        two("beyond the end", "[0,2]", "[2,4]", 3, "'v'", "[2, 4] reach beyond"));
  }

  private static Arguments two(
      String what, String first, String second, int dataBytes, String... said) {
    String json = "{'w':" + tensor("U8", "[2]", first) + ",'v':" + tensor("U8", "[2]", second);
    return damaged(what, json + "}", dataBytes, said);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource({"lengths", "json", "tensors"})
  void isRefused(String what, byte[] content, String[] said) throws IOException {
    Path file = directory.resolve("damaged.safetensors");
    Files.write(file, content);
    CheckpointException e =
        assertThrows(CheckpointException.class, () -> Safetensors.read(file).close());
    assertTrue(e.getMessage().startsWith(file + ": "), e.getMessage());
    for (String part : said) {
      assertTrue(e.getMessage().contains(part), e.getMessage() + " does not say " + part);
    }
    assertTrue(e.getMessage().length() < 1000, "message of " + e.getMessage().length());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }

  @Test
  void everyTruncationIsRefused() throws IOException {
    byte[] whole = valid();
    Path file = directory.resolve("cut.safetensors");
    for (int length = 0; length < whole.length; length++) {
      Files.write(file, Arrays.copyOf(whole, length));
      assertThrows(
          CheckpointException.class, () -> Safetensors.read(file).close(), "cut at " + length);
    }
  }

  @Test
  void mutatedFilesAreReadOrRefused() throws IOException {
    byte[] whole = valid();
    Random random = new Random(20150211);
    Path file = directory.resolve("fuzz.safetensors");
    byte[] alphabet = "{}[]\",:0123456789-+.eE\\untrFIU \0\uFFFD".getBytes(StandardCharsets.UTF_8);
    int read = 0;
    int refused = 0;
    for (int round = 0; round < 3_000; round++) {
      byte[] mutated = whole.clone();
      for (int edits = 1 + random.nextInt(4); edits > 0; edits--) {
        int at = random.nextInt(mutated.length);
        mutated[at] =
            random.nextBoolean()
                ? alphabet[random.nextInt(alphabet.length)]
                : (byte) random.nextInt();
      }
      Files.write(file, mutated);
      try (SafetensorsReader reader = Safetensors.read(file)) {
        long total = 0;
        for (String name : reader.names()) {
          total += reader.entry(name).bytes();
          assertTrue(total <= mutated.length, "more data than the file has");
          reader.read(name, ByteBuffer.allocate((int) reader.entry(name).bytes()));
        }
        read++;
      } catch (CheckpointException expected) {
        refused++;
      }
    }
    // Both outcomes are common: edits of data or of a name are read, edits of the structure not.
    assertTrue(read > 200 && refused > 200, read + " read, " + refused + " refused");
  }

  private byte[] valid() throws IOException {
    Path file = directory.resolve("valid.safetensors");
    Map<String, Safetensors.Entry> tensors = new LinkedHashMap<>();
    for (DType type : DType.values()) {
      tensors.put(
          "layer." + type,
          Safetensors.Entry.of(
              new Safetensors.Info(type, 2, 3), ByteBuffer.allocate(6 * type.bytes())));
    }
    Safetensors.write(file, tensors, Map.of("step", "100"));
    return Files.readAllBytes(file);
  }
}
