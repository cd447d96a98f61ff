package org.fusednorm.nn;

import static org.fusednorm.nn.SafetensorsHeader.quote;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import org.fusednorm.DType;
import org.fusednorm.nn.SafetensorsHeader.Placed;

/**
 * Files of named tensors in the <a href="https://huggingface.co/docs/safetensors">safetensors</a>
 * format: eight bytes of header length, a JSON header, then the data of all tensors back to back,
 * little-endian.
 *
 * <p>Data goes between the file and the caller's buffers directly, piece by piece: no tensor is
 * held a second time, and none is limited to 2 GB. All data is raw little-endian bytes; the byte
 * order set on a buffer plays no part.
 */
public final class Safetensors {
  /** What passes through the JDK's hidden direct copy when a buffer lives on the heap. */
  private static final int HEAP_PIECE = 1 << 20;

  static final int LENGTH_BYTES = 8;

  private Safetensors() {}

  /**
   * Type and shape of a tensor.
   *
   * @param dtype element type
   * @param shape dimensions, outermost first; empty for a scalar, zeros allowed
   */
  public record Info(DType dtype, long... shape) {
    /**
     * Checks and copies.
     *
     * @throws IllegalArgumentException if a dimension is negative or the size in bytes overflows
     */
    public Info {
      shape = shape.clone();
      long bytes = dtype.bytes();
      for (long dimension : shape) {
        if (dimension < 0) {
          throw new IllegalArgumentException(
              "negative dimension in shape " + Arrays.toString(shape));
        }
        if (Math.multiplyHigh(bytes, dimension) != 0 || bytes * dimension < 0) {
          throw new IllegalArgumentException(
              "the size of shape " + Arrays.toString(shape) + " overflows");
        }
        bytes *= dimension;
      }
    }

    /** A copy of the dimensions. */
    @Override
    public long[] shape() {
      return shape.clone();
    }

    /** Size of the data in bytes. */
    public long bytes() {
      return Arrays.stream(shape).reduce(dtype.bytes(), (a, b) -> a * b);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Info i && dtype == i.dtype && Arrays.equals(shape, i.shape);
    }

    @Override
    public int hashCode() {
      return 31 * dtype.hashCode() + Arrays.hashCode(shape);
    }

    /** For example {@code F32 [64, 32]}. */
    @Override
    public String toString() {
      return dtype + " " + Arrays.toString(shape);
    }
  }

  /** Gives the data of one tensor when its turn to be written comes. */
  @FunctionalInterface
  public interface Source {
    /**
     * Writes all bytes of the tensor, in as many calls as it likes.
     *
     * @param out takes every buffer whole
     * @throws IOException from the channel
     */
    void writeTo(WritableByteChannel out) throws IOException;
  }

  /**
   * A tensor to be written.
   *
   * @param info type and shape
   * @param data gives exactly {@code info.bytes()} bytes
   */
  public record Entry(Info info, Source data) {
    /**
     * An entry over memory: what remains in the windows, one after another. Their positions stay.
     *
     * @param info type and shape
     * @param windows little-endian data; read when the file is written, not now
     */
    public static Entry of(Info info, ByteBuffer... windows) {
      List<ByteBuffer> views = Arrays.stream(windows).map(ByteBuffer::duplicate).toList();
      return new Entry(
          info,
          out -> {
            for (ByteBuffer view : views) {
              out.write(view.duplicate());
            }
          });
    }
  }

  /**
   * Writes a file whole or not at all: into a temporary file of the same directory, forced to disk,
   * then moved over {@code file} in one step. On failure the temporary file is removed and what
   * stood at {@code file} is untouched.
   *
   * <p>Larger element types come first, and within a type the map's order is kept: so every tensor
   * is aligned to its element size in the file. Equal input gives equal bytes.
   *
   * @param file the target; its directory must exist
   * @param tensors by name
   * @param metadata free text by key, may be empty
   * @throws IllegalArgumentException if a name is {@code __metadata__} or no valid Unicode, the
   *     header takes more than 100 MB, or a source gives more or fewer bytes than its entry says
   * @throws IOException if the file system refuses
   */
  public static void write(Path file, Map<String, Entry> tensors, Map<String, String> metadata)
      throws IOException {
    List<Map.Entry<String, Entry>> ordered = new ArrayList<>(tensors.entrySet());
    ordered.sort(Comparator.comparingInt(e -> -e.getValue().info().dtype().bytes()));
    ByteBuffer head = head(ordered, metadata);

    Path target = file.toAbsolutePath();
    Path temporary =
        target.resolveSibling(
            ".fusednorm-" + Long.toHexString(ThreadLocalRandom.current().nextLong()) + ".tmp");
    try {
      try (FileChannel channel =
          FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
        writeFully(channel, head);
        for (Map.Entry<String, Entry> e : ordered) {
          writeTensor(channel, e.getKey(), e.getValue());
        }
        channel.force(true);
      }
      Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
    } catch (Throwable failure) {
      try {
        Files.deleteIfExists(temporary);
      } catch (IOException e) {
        failure.addSuppressed(e);
      }
      throw failure;
    }
  }

  private static ByteBuffer head(
      List<Map.Entry<String, Entry>> ordered, Map<String, String> metadata) throws IOException {
    Map<String, Placed> placed = new LinkedHashMap<>();
    long offset = 0;
    for (Map.Entry<String, Entry> e : ordered) {
      checkText("tensor name", e.getKey());
      if (e.getKey().equals(SafetensorsHeader.METADATA)) {
        throw new IllegalArgumentException(
            "a tensor cannot be named " + SafetensorsHeader.METADATA);
      }
      Info info = e.getValue().info();
      placed.put(e.getKey(), new Placed(info, offset, Math.addExact(offset, info.bytes())));
      offset += info.bytes();
    }
    metadata.forEach(
        (key, value) -> {
          checkText("metadata key", key);
          checkText("metadata value of " + quote(key), value);
        });
    byte[] json = new SafetensorsHeader(placed, metadata).toJson();
    int padded = Math.addExact(json.length, 7) & ~7;
    if (padded > SafetensorsHeader.MAX_BYTES) {
      throw new IllegalArgumentException(
          "the header takes "
              + padded
              + " bytes, the format allows "
              + SafetensorsHeader.MAX_BYTES);
    }
    ByteBuffer head = ByteBuffer.allocate(LENGTH_BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
    Arrays.fill(head.array(), (byte) ' ');
    head.putLong(padded).put(json);
    return head.rewind();
  }

  private static void checkText(String what, String text) {
    if (text == null || !SafetensorsHeader.isEncodable(text)) {
      throw new IllegalArgumentException(
          what + (text == null ? " is null" : " has half a surrogate pair: " + quote(text)));
    }
  }

  private static void writeTensor(FileChannel channel, String name, Entry entry)
      throws IOException {
    long begin = channel.position();
    long bytes = entry.info().bytes();
    entry
        .data()
        .writeTo(
            new WritableByteChannel() {
              @Override
              public int write(ByteBuffer source) throws IOException {
                long room = bytes - (channel.position() - begin);
                if (source.remaining() > room) {
                  throw new IllegalArgumentException(
                      "tensor "
                          + quote(name)
                          + ": "
                          + entry.info()
                          + " takes "
                          + bytes
                          + " bytes, its source gives at least "
                          + (bytes - room + source.remaining()));
                }
                return writeFully(channel, source);
              }

              @Override
              public boolean isOpen() {
                return channel.isOpen();
              }

              @Override
              public void close() {
                throw new UnsupportedOperationException("the writer closes the file");
              }
            });
    long given = channel.position() - begin;
    if (given != bytes) {
      throw new IllegalArgumentException(
          "tensor "
              + quote(name)
              + ": "
              + entry.info()
              + " takes "
              + bytes
              + " bytes, its source gives "
              + given);
    }
  }

  private static int writeFully(FileChannel channel, ByteBuffer source) throws IOException {
    int bytes = source.remaining();
    int limit = source.limit();
    while (source.position() < limit) {
      source.limit(pieceLimit(source, limit));
      try {
        channel.write(source);
      } finally {
        source.limit(limit);
      }
    }
    return bytes;
  }

  static int pieceLimit(ByteBuffer buffer, int limit) {
    return buffer.isDirect() ? limit : Math.min(limit, buffer.position() + HEAP_PIECE);
  }

  /**
   * Opens a file and checks all of its header; data is read on demand.
   *
   * <p>Refused are: a file cut short or with bytes too many; a header over 100 MB or beyond the
   * file; malformed JSON, duplicate names or fields; unknown and unsupported types; offsets that
   * overlap, leave holes, run backwards or reach beyond the end; a shape that disagrees with its
   * bytes.
   *
   * @throws CheckpointException naming file, tensor and value if the file is not sound
   * @throws IOException if the file system refuses
   */
  public static SafetensorsReader read(Path file) throws IOException {
    FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
    try {
      return new SafetensorsReader(file.toString(), channel);
    } catch (Throwable failure) {
      try {
        channel.close();
      } catch (IOException e) {
        failure.addSuppressed(e);
      }
      throw failure;
    }
  }
}
