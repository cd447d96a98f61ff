package org.fusednorm.nn;

import static org.fusednorm.nn.SafetensorsHeader.quote;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.fusednorm.DType;
import org.fusednorm.nn.Safetensors.Info;
import org.fusednorm.nn.SafetensorsHeader.Placed;

/**
 * An open safetensors file whose header has been checked, from {@link Safetensors#read}. Any thread
 * may read; close it when done.
 */
public final class SafetensorsReader implements Closeable {
  private final String file;
  private final FileChannel channel;
  private final long dataBegin;
  private final SafetensorsHeader header;

  SafetensorsReader(String file, FileChannel channel) throws IOException {
    this.file = file;
    this.channel = channel;
    long size = channel.size();
    if (size < Safetensors.LENGTH_BYTES) {
      throw new CheckpointException(
          file + ": truncated: " + size + " bytes, the header length alone takes 8");
    }
    ByteBuffer length =
        ByteBuffer.allocate(Safetensors.LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    readFully(length, 0, "header length");
    long bytes = length.getLong(0);
    if (bytes < 0 || bytes > SafetensorsHeader.MAX_BYTES) {
      throw new CheckpointException(
          file
              + ": header length "
              + Long.toUnsignedString(bytes)
              + " is over "
              + SafetensorsHeader.MAX_BYTES);
    }
    if (bytes > size - Safetensors.LENGTH_BYTES) {
      throw new CheckpointException(
          file + ": header length " + bytes + " reaches beyond the file of " + size + " bytes");
    }
    ByteBuffer json = ByteBuffer.allocate((int) bytes);
    readFully(json, Safetensors.LENGTH_BYTES, "header");
    dataBegin = Safetensors.LENGTH_BYTES + bytes;
    header = SafetensorsHeader.parse(file, json.rewind(), size - dataBegin);
  }

  /** The tensors' names, in the header's order. */
  public Set<String> names() {
    return Collections.unmodifiableSet(header.tensors().keySet());
  }

  /** The metadata, in the header's order; empty where the file has none. */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(header.metadata());
  }

  /**
   * Type and shape of a tensor.
   *
   * @throws CheckpointException if the file has no tensor of that name
   */
  public Info entry(String name) throws CheckpointException {
    return placed(name).info();
  }

  /**
   * Type and shape of a tensor that must have one of the types and exactly the shape.
   *
   * @param name the tensor
   * @param allowed types the caller can use
   * @param shape the dimensions the caller needs
   * @throws CheckpointException if it is missing, or of another type or shape
   */
  public Info require(String name, Set<DType> allowed, long... shape) throws CheckpointException {
    Info info = entry(name);
    if (!allowed.contains(info.dtype())) {
      throw new CheckpointException(
          where(name)
              + "dtype "
              + info.dtype()
              + ", required is "
              + (allowed.size() == 1 ? "" : "one of ")
              + String.join(", ", allowed.stream().map(DType::name).sorted().toList()));
    }
    if (!Arrays.equals(info.shape(), shape)) {
      throw new CheckpointException(
          where(name)
              + "shape "
              + Arrays.toString(info.shape())
              + ", required is "
              + Arrays.toString(shape));
    }
    return info;
  }

  /**
   * Requires that the file has these tensors and no others.
   *
   * @throws CheckpointException listing what is missing and what is unexpected
   */
  public void requireNames(Collection<String> expected) throws CheckpointException {
    Set<String> missing = new LinkedHashSet<>(expected);
    missing.removeAll(names());
    Set<String> unexpected = new LinkedHashSet<>(names());
    unexpected.removeAll(new LinkedHashSet<>(expected));
    if (!missing.isEmpty() || !unexpected.isEmpty()) {
      List<String> parts = new ArrayList<>();
      if (!missing.isEmpty()) {
        parts.add("missing tensors " + list(missing));
      }
      if (!unexpected.isEmpty()) {
        parts.add("unexpected tensors " + list(unexpected));
      }
      throw new CheckpointException(file + ": " + String.join("; ", parts));
    }
  }

  /**
   * Reads a whole tensor.
   *
   * @param name the tensor
   * @param destination has exactly the tensor's bytes remaining; is full afterwards
   * @throws IllegalArgumentException if the destination has another size
   * @throws CheckpointException if the file has no such tensor, or was cut since it was opened
   * @throws IOException if the file system refuses
   */
  public void read(String name, ByteBuffer destination) throws IOException {
    Info info = entry(name);
    if (destination.remaining() != info.bytes()) {
      throw new IllegalArgumentException(
          where(name)
              + info
              + " takes "
              + info.bytes()
              + " bytes, the destination has "
              + destination.remaining());
    }
    read(name, 0, destination);
  }

  /**
   * Fills a buffer from a part of a tensor: the way to read one over 2 GB, window by window.
   *
   * @param name the tensor
   * @param offset first byte, counted from the tensor's begin
   * @param destination is full afterwards
   * @throws IllegalArgumentException if the part reaches beyond the tensor
   * @throws CheckpointException if the file has no such tensor, or was cut since it was opened
   * @throws IOException if the file system refuses
   */
  public void read(String name, long offset, ByteBuffer destination) throws IOException {
    Placed placed = placed(name);
    if (offset < 0 || offset > placed.info().bytes() - destination.remaining()) {
      throw new IllegalArgumentException(
          where(name)
              + "no "
              + destination.remaining()
              + " bytes at "
              + offset
              + " in "
              + placed.info()
              + " of "
              + placed.info().bytes()
              + " bytes");
    }
    readFully(destination, dataBegin + placed.begin() + offset, "tensor " + quote(name));
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  private Placed placed(String name) throws CheckpointException {
    Placed placed = header.tensors().get(name);
    if (placed == null) {
      throw new CheckpointException(
          where(name) + "missing; the file has " + list(header.tensors().keySet()));
    }
    return placed;
  }

  private void readFully(ByteBuffer destination, long position, String what) throws IOException {
    int limit = destination.limit();
    while (destination.position() < limit) {
      destination.limit(Safetensors.pieceLimit(destination, limit));
      int read;
      try {
        read = channel.read(destination, position);
      } finally {
        destination.limit(limit);
      }
      if (read < 0) {
        throw new CheckpointException(file + ": " + what + ": truncated at byte " + position);
      }
      position += read;
    }
  }

  private String where(String name) {
    return file + ": tensor " + quote(name) + ": ";
  }

  private static String list(Collection<String> names) {
    String shown =
        String.join(", ", names.stream().limit(10).map(SafetensorsHeader::quote).toList());
    return names.isEmpty()
        ? "none"
        : names.size() <= 10 ? shown : shown + " and " + (names.size() - 10) + " more";
  }
}
