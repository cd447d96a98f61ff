package org.fusednorm.nn;

import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import java.io.IOException;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.fusednorm.DType;
import org.fusednorm.nn.Safetensors.Info;

/**
 * The JSON header of a safetensors file: what it says, and the check that the tensors it names
 * cover the data exactly once.
 *
 * @param tensors in the header's order
 * @param metadata in the header's order
 */
record SafetensorsHeader(Map<String, Placed> tensors, Map<String, String> metadata) {
  static final int MAX_BYTES = 100_000_000;
  static final String METADATA = "__metadata__";
  private static final int MAX_DIMENSIONS = 64;
  private static final Pattern INTEGER = Pattern.compile("0|[1-9][0-9]{0,17}");

  /** Types the format knows and this library has no use for. */
  private static final Set<String> FOREIGN =
      Set.of(
          "BOOL", "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "I16", "U16",
          "U32", "U64", "C64");

  /** A tensor and where its data lies, counted from the end of the header. */
  record Placed(Info info, long begin, long end) {}

  /** The header as JSON in UTF-8, without the padding. */
  byte[] toJson() throws IOException {
    StringWriter text = new StringWriter();
    try (JsonWriter json = new JsonWriter(text)) {
      json.setHtmlSafe(false);
      json.beginObject();
      if (!metadata.isEmpty()) {
        json.name(METADATA).beginObject();
        for (Map.Entry<String, String> e : metadata.entrySet()) {
          json.name(e.getKey()).value(e.getValue());
        }
        json.endObject();
      }
      for (Map.Entry<String, Placed> e : tensors.entrySet()) {
        Placed p = e.getValue();
        json.name(e.getKey()).beginObject();
        json.name("dtype").value(p.info.dtype().name());
        json.name("shape").beginArray();
        for (long dimension : p.info.shape()) {
          json.value(dimension);
        }
        json.endArray();
        json.name("data_offsets").beginArray().value(p.begin).value(p.end).endArray();
        json.endObject();
      }
      json.endObject();
    }
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }

  /**
   * Reads a header and checks it against the size of the data behind it.
   *
   * @param file for messages
   * @throws CheckpointException for whatever is wrong
   */
  static SafetensorsHeader parse(String file, ByteBuffer utf8, long dataBytes)
      throws CheckpointException {
    String text;
    try {
      text = StandardCharsets.UTF_8.newDecoder().decode(utf8).toString();
    } catch (CharacterCodingException e) {
      throw new CheckpointException(file + ": the header is not UTF-8: " + e.getMessage(), e);
    }
    if (!text.startsWith("{")) {
      throw new CheckpointException(
          file
              + ": the header starts with "
              + quote(text.substring(0, Math.min(1, text.length())))
              + ", not with '{'");
    }
    SafetensorsHeader header = new Parser(file, text).header();
    header.checkCoverage(file, dataBytes);
    return header;
  }

  private void checkCoverage(String file, long dataBytes) throws CheckpointException {
    // The format leaves the header's order free; a tensor without elements shares its offset with
    // the next one and comes first.
    List<Map.Entry<String, Placed>> byOffset = new ArrayList<>(tensors.entrySet());
    byOffset.sort(
        Comparator.comparingLong((Map.Entry<String, Placed> e) -> e.getValue().begin)
            .thenComparingLong(e -> e.getValue().end));
    long covered = 0;
    for (Map.Entry<String, Placed> e : byOffset) {
      Placed p = e.getValue();
      String where =
          file
              + ": tensor "
              + quote(e.getKey())
              + ": data_offsets ["
              + p.begin
              + ", "
              + p.end
              + "]";
      if (p.begin < covered) {
        throw new CheckpointException(where + " overlap the tensor that ends at " + covered);
      }
      if (p.begin > covered) {
        throw new CheckpointException(where + " leave a hole after " + covered);
      }
      if (p.end > dataBytes) {
        throw new CheckpointException(
            where + " reach beyond the file, which holds " + dataBytes + " bytes of data");
      }
      covered = p.end;
    }
    if (covered != dataBytes) {
      throw new CheckpointException(
          file + ": " + (dataBytes - covered) + " trailing bytes after the last tensor");
    }
  }

  /** A name as a message shows it: short, and without control characters. */
  static String quote(String name) {
    String shown = name.length() <= 100 ? name : name.substring(0, 100) + "...";
    return "'" + shown.replaceAll("\\p{Cntrl}", "?") + "'";
  }

  /** Whether UTF-8 can hold the text: no half of a surrogate pair by itself. */
  static boolean isEncodable(String text) {
    return StandardCharsets.UTF_8.newEncoder().canEncode(text);
  }

  /** Walks the one structure a header may have, so that neither depth nor type can surprise. */
  private static final class Parser {
    private final String file;
    private final JsonReader json;
    private String where;

    Parser(String file, String text) {
      this.file = file;
      where = file + ": header";
      json = new JsonReader(new StringReader(text));
      json.setStrictness(Strictness.STRICT);
    }

    SafetensorsHeader header() throws CheckpointException {
      try {
        Map<String, Placed> tensors = new LinkedHashMap<>();
        Map<String, String> metadata = null;
        json.beginObject();
        while (json.hasNext()) {
          where = file + ": header";
          String name = name();
          if (name.equals(METADATA)) {
            if (metadata != null) {
              throw error("has " + METADATA + " twice");
            }
            metadata = metadata();
            continue;
          }
          where = file + ": tensor " + quote(name);
          if (tensors.put(name, tensor()) != null) {
            throw error("stands twice in the header");
          }
        }
        where = file + ": header";
        json.endObject();
        if (json.peek() != JsonToken.END_DOCUMENT) {
          throw error("goes on after its closing brace");
        }
        return new SafetensorsHeader(tensors, metadata == null ? Map.of() : metadata);
      } catch (CheckpointException e) {
        throw e;
      } catch (IOException | IllegalStateException e) {
        // Syntax is IOException, a value of another kind than expected IllegalStateException.
        throw new CheckpointException(where + ": malformed JSON: " + firstLine(e), e);
      }
    }

    private Map<String, String> metadata() throws IOException {
      where = file + ": " + METADATA;
      Map<String, String> metadata = new LinkedHashMap<>();
      json.beginObject();
      while (json.hasNext()) {
        String key = name();
        if (json.peek() != JsonToken.STRING) {
          throw error(quote(key) + " is " + json.peek() + ", not a string");
        }
        if (metadata.put(key, encodable(json.nextString())) != null) {
          throw error(quote(key) + " stands twice");
        }
      }
      json.endObject();
      return metadata;
    }

    private Placed tensor() throws IOException {
      String dtype = null;
      long[] shape = null;
      long[] offsets = null;
      json.beginObject();
      while (json.hasNext()) {
        String field = name();
        boolean twice;
        switch (field) {
          case "dtype" -> {
            twice = dtype != null;
            dtype = string(field);
          }
          case "shape" -> {
            twice = shape != null;
            shape = numbers(field);
          }
          case "data_offsets" -> {
            twice = offsets != null;
            offsets = numbers(field);
          }
          default -> throw error("has an unknown field " + quote(field));
        }
        if (twice) {
          throw error("has " + field + " twice");
        }
      }
      json.endObject();
      if (dtype == null || shape == null || offsets == null) {
        throw error("lacks one of dtype, shape and data_offsets");
      }
      return placed(dtype(dtype), shape, offsets);
    }

    private Placed placed(DType dtype, long[] shape, long[] offsets) throws CheckpointException {
      if (offsets.length != 2) {
        throw error("data_offsets " + Arrays.toString(offsets) + " are not two");
      }
      if (offsets[0] > offsets[1]) {
        throw error("data_offsets " + Arrays.toString(offsets) + " end before they begin");
      }
      Info info;
      try {
        info = new Info(dtype, shape);
      } catch (IllegalArgumentException e) {
        throw error(e.getMessage());
      }
      if (info.bytes() != offsets[1] - offsets[0]) {
        throw error(
            info
                + " takes "
                + info.bytes()
                + " bytes, its data_offsets "
                + Arrays.toString(offsets)
                + " hold "
                + (offsets[1] - offsets[0]));
      }
      return new Placed(info, offsets[0], offsets[1]);
    }

    private DType dtype(String name) throws CheckpointException {
      for (DType known : DType.values()) {
        if (known.name().equals(name)) {
          return known;
        }
      }
      throw error(
          (FOREIGN.contains(name) ? "unsupported dtype " : "unknown dtype ")
              + quote(name)
              + "; supported are "
              + Arrays.toString(DType.values()));
    }

    private String name() throws IOException {
      return encodable(json.nextName());
    }

    private String string(String field) throws IOException {
      if (json.peek() != JsonToken.STRING) {
        throw error(field + " is " + json.peek() + ", not a string");
      }
      return json.nextString();
    }

    private String encodable(String text) throws CheckpointException {
      if (!isEncodable(text)) {
        throw error("malformed JSON: half a surrogate pair in " + quote(text));
      }
      return text;
    }

    private long[] numbers(String field) throws IOException {
      List<Long> numbers = new ArrayList<>();
      json.beginArray();
      while (json.hasNext()) {
        if (json.peek() != JsonToken.NUMBER) {
          throw error(field + " holds " + json.peek() + ", not a number");
        }
        // By its text: the parser would take 1e3, 2.0 and -0 for integers.
        String text = json.nextString();
        if (!INTEGER.matcher(text).matches()) {
          throw error(field + " holds " + quote(text) + ", not an integer from 0 to 10^18 - 1");
        }
        if (numbers.size() == MAX_DIMENSIONS) {
          throw error(field + " holds over " + MAX_DIMENSIONS + " numbers");
        }
        numbers.add(Long.parseLong(text));
      }
      json.endArray();
      return numbers.stream().mapToLong(Long::longValue).toArray();
    }

    private CheckpointException error(String what) {
      return new CheckpointException(where + ": " + what);
    }

    private static String firstLine(Exception e) {
      return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
    }
  }
}
