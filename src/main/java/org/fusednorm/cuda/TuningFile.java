package org.fusednorm.cuda;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * What the autotuner found out, for later runs: {@code fusednorm/tuning.json} in the user's cache
 * folder, which is {@code $XDG_CACHE_HOME} or {@code ~/.cache}. A JSON object with "format"
 * ({@value #FORMAT}), "version" ({@value #VERSION}) and "choices", a list of {@link Choice}. It is
 * replaced as a whole; processes that write at the same time lose nothing of each other. A file of
 * another version or with anything unexpected is ignored, and replaced at the next write.
 */
final class TuningFile {
  static final String FORMAT = "fusednorm tuning";
  static final int VERSION = 1;

  /** The oldest are forgotten. */
  private static final int MOST_CHOICES = 4096;

  private static final long MOST_BYTES = 16 << 20;
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().create();

  /** What a choice is for: another driver or other kernels may have another best way. */
  record Key(
      String gpu,
      String driver,
      String image,
      String operation,
      boolean gate,
      long outer,
      long channels,
      long inner,
      String dtype,
      int alignment) {
    static Key of(String gpu, String driver, String image, NormPlan p) {
      return new Key(
          gpu,
          driver,
          image,
          p.direction == Direction.FORWARD ? "forward" : "backward",
          p.gate,
          p.outer,
          p.channels,
          p.inner,
          p.type.name(),
          p.alignment);
    }
  }

  /**
   * One entry.
   *
   * @param of what it is for
   * @param way name of the {@link NormPlan.Way} that was fastest
   * @param microseconds medians of all that were timed, by name
   */
  record Choice(Key of, String way, Map<String, Double> microseconds) {}

  // Gson makes no record: it sets the fields of such a class.
  private static final class Document {
    String format;
    int version;
    List<Entry> choices;
  }

  private static final class Entry {
    String gpu;
    String driver;
    String image;
    String operation;
    Boolean gate;
    Long outer;
    Long channels;
    Long inner;
    String dtype;
    Integer alignment;
    String way;
    TreeMap<String, Double> microseconds;

    static Entry of(Choice c) {
      Entry e = new Entry();
      e.gpu = c.of.gpu;
      e.driver = c.of.driver;
      e.image = c.of.image;
      e.operation = c.of.operation;
      e.gate = c.of.gate;
      e.outer = c.of.outer;
      e.channels = c.of.channels;
      e.inner = c.of.inner;
      e.dtype = c.of.dtype;
      e.alignment = c.of.alignment;
      e.way = c.way;
      e.microseconds = new TreeMap<>(c.microseconds);
      return e;
    }

    /** Throws if a field is missing. */
    Choice choice() {
      Key key =
          new Key(
              Objects.requireNonNull(gpu, "gpu"),
              Objects.requireNonNull(driver, "driver"),
              Objects.requireNonNull(image, "image"),
              Objects.requireNonNull(operation, "operation"),
              Objects.requireNonNull(gate, "gate"),
              Objects.requireNonNull(outer, "outer"),
              Objects.requireNonNull(channels, "channels"),
              Objects.requireNonNull(inner, "inner"),
              Objects.requireNonNull(dtype, "dtype"),
              Objects.requireNonNull(alignment, "alignment"));
      return new Choice(
          key,
          Objects.requireNonNull(way, "way"),
          Map.copyOf(Objects.requireNonNull(microseconds, "microseconds")));
    }
  }

  private final Path file;

  TuningFile(Path file) {
    this.file = file;
  }

  /** The file of this user. */
  static TuningFile ofUser() {
    String given = System.getenv("XDG_CACHE_HOME");
    // The specification: a relative path is invalid and to be ignored.
    Path cache =
        given != null && Path.of(given).isAbsolute()
            ? Path.of(given)
            : Path.of(System.getProperty("user.home"), ".cache");
    return new TuningFile(cache.resolve("fusednorm").resolve("tuning.json"));
  }

  /**
   * All choices, none where there is no file.
   *
   * @throws IOException naming the file, if it cannot be read or has not this format
   */
  Map<Key, Choice> read() throws IOException {
    Map<Key, Choice> choices = new LinkedHashMap<>();
    try {
      if (Files.size(file) > MOST_BYTES) {
        throw new IOException(file + " has more than " + MOST_BYTES + " bytes");
      }
      Document d = GSON.fromJson(Files.readString(file), Document.class);
      if (d == null || !FORMAT.equals(d.format) || d.choices == null) {
        throw new IOException(file + " is no " + FORMAT);
      }
      if (d.version != VERSION) {
        throw new IOException(file + " has version " + d.version + ", not " + VERSION);
      }
      for (Entry e : d.choices) {
        Choice c = e.choice();
        choices.put(c.of, c);
      }
    } catch (NoSuchFileException e) {
      return choices;
    } catch (JsonParseException | NullPointerException e) {
      String why = e.getMessage() == null ? e.toString() : e.getMessage().lines().findFirst().get();
      throw new IOException(file + " is damaged: " + why, e);
    }
    return choices;
  }

  /**
   * Adds choices to those that are in the file.
   *
   * @throws IOException if it cannot be written; what was there is untouched then
   */
  void add(List<Choice> found) throws IOException {
    // A lock of the file system is the whole JVM's.
    synchronized (TuningFile.class) {
      Path folder = Files.createDirectories(file.getParent());
      Path beside = folder.resolve(file.getFileName() + ".lock");
      try (FileChannel channel =
              FileChannel.open(beside, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
          FileLock lock = channel.lock()) {
        Map<Key, Choice> all = readable();
        for (Choice c : found) {
          all.remove(c.of); // so that it is the newest
          all.put(c.of, c);
        }
        write(all, folder);
      }
    }
  }

  /** What there is, nothing where it cannot be used. */
  private Map<Key, Choice> readable() {
    try {
      return read();
    } catch (IOException e) {
      return new LinkedHashMap<>();
    }
  }

  private void write(Map<Key, Choice> choices, Path folder) throws IOException {
    Document d = new Document();
    d.format = FORMAT;
    d.version = VERSION;
    d.choices =
        choices.values().stream()
            .skip(Math.max(0, choices.size() - MOST_CHOICES))
            .map(Entry::of)
            .toList();
    Path part = Files.createTempFile(folder, ".fusednorm-tuning-", ".tmp");
    try {
      Files.writeString(part, GSON.toJson(d) + "\n");
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }

  /** The path. */
  @Override
  public String toString() {
    return file.toString();
  }
}
