package org.fusednorm.cli;

import java.io.ByteArrayInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/**
 * Reads the four IDX files of MNIST and of the data sets that share its form.
 *
 * <p>An IDX file is big-endian: two zero bytes, a type (8: unsigned byte), the number of
 * dimensions, each dimension as 32 bits, then the values. Files may be compressed as {@code
 * NAME.gz}; where both forms stand side by side the plain one is read.
 */
public final class IdxFiles {
  private static final int CLASSES = 10;
  private static final int IMAGES_MAGIC = 0x00000803;
  private static final int LABELS_MAGIC = 0x00000801;

  /** Sides beyond this are a damaged header, not a picture. */
  private static final int MAX_SIDE = 4096;

  private static final int GZIP_TRAILER = 8;

  /** What fits into an array, with room for what a JVM and a buffer add. */
  private static final int MAX_BYTES = Integer.MAX_VALUE - 64;

  private IdxFiles() {}

  /**
   * Reads {@code train-images-idx3-ubyte}, {@code train-labels-idx1-ubyte}, {@code
   * t10k-images-idx3-ubyte} and {@code t10k-labels-idx1-ubyte}, plain or with {@code .gz}.
   *
   * @param directory where the files are
   * @return the training and the test set, in ten classes
   * @throws IdxException if a file is missing, damaged, truncated, followed by other bytes, or does
   *     not fit the others
   * @throws IOException if a file cannot be read
   */
  public static TrainTest read(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      throw new IdxException(directory, "no such directory");
    }
    Dataset train = readSet(directory, "train");
    Dataset test = readSet(directory, "t10k");
    if (test.rows() != train.rows() || test.columns() != train.columns()) {
      throw new IdxException(
          find(directory, "t10k-images-idx3-ubyte"),
          "images are "
              + size(test.rows(), test.columns())
              + ", those of the training set "
              + size(train.rows(), train.columns()));
    }
    return new TrainTest(train, test);
  }

  private static Dataset readSet(Path directory, String set) throws IOException {
    Path imageFile = find(directory, set + "-images-idx3-ubyte");
    Path labelFile = find(directory, set + "-labels-idx1-ubyte");
    Content images = readFile(imageFile, IMAGES_MAGIC);
    Content labels = readFile(labelFile, LABELS_MAGIC);
    if (labels.count != images.count) {
      throw new IdxException(
          labelFile,
          labels.count + " labels for " + images.count + " images in " + imageFile.getFileName());
    }
    for (int i = 0; i < labels.values.length; i++) {
      int label = labels.values[i] & 0xFF;
      if (label >= CLASSES) {
        throw new IdxException(
            labelFile, "label " + label + " of image " + i + " is not in 0 .. 9");
      }
    }
    return new Dataset(
        Objects.toString(directory.toRealPath().getFileName(), "root"),
        images.count + " images of " + imageFile.getFileName(),
        images.rows,
        images.columns,
        CLASSES,
        images.values,
        labels.values);
  }

  private static Path find(Path directory, String name) throws IdxException {
    Path plain = directory.resolve(name);
    if (Files.exists(plain)) {
      return plain;
    }
    Path compressed = directory.resolve(name + ".gz");
    if (Files.exists(compressed)) {
      return compressed;
    }
    throw new IdxException(plain, "no such file, nor " + compressed.getFileName());
  }

  private record Content(int count, int rows, int columns, byte[] values) {}

  private static Content readFile(Path file, int magic) throws IOException {
    if (!file.toString().endsWith(".gz")) {
      try (InputStream in = Files.newInputStream(file)) {
        return readContent(file, in, magic);
      }
    }
    if (Files.size(file) > MAX_BYTES) {
      throw new IdxException(file, Files.size(file) + " bytes: up to 2 GiB are supported");
    }
    try (Gzip gzip = new Gzip(Files.readAllBytes(file))) {
      Content content = readContent(file, gzip, magic);
      if (gzip.trailing() > 0) {
        throw new IdxException(file, gzip.trailing() + " bytes after the end of the gzip data");
      }
      return content;
    } catch (EOFException e) {
      throw new IdxException(file, "truncated: the gzip data end too early", e);
    } catch (ZipException e) {
      throw new IdxException(file, "damaged gzip data: " + e.getMessage(), e);
    }
  }

  private static Content readContent(Path file, InputStream in, int magic) throws IOException {
    int dimensions = magic & 0xFF;
    int headerSize = 4 + 4 * dimensions;
    byte[] bytes = in.readNBytes(headerSize);
    if (bytes.length < headerSize) {
      throw new IdxException(
          file, "truncated: " + bytes.length + " bytes of a header of " + headerSize);
    }
    ByteBuffer header = ByteBuffer.wrap(bytes);
    int found = header.getInt();
    if (found != magic) {
      throw new IdxException(
          file, String.format("magic number is 0x%08x, expected 0x%08x", found, magic));
    }
    int count = header.getInt();
    int rows = dimensions == 1 ? 1 : header.getInt();
    int columns = dimensions == 1 ? 1 : header.getInt();
    if (rows < 1 || rows > MAX_SIDE || columns < 1 || columns > MAX_SIDE) {
      throw new IdxException(
          file,
          "images of "
              + size(rows, columns)
              + " pixels: sides of 1 .. "
              + MAX_SIDE
              + " are supported");
    }
    // 64 bits: at most 2^31 * 2^24.
    long expected = (long) count * rows * columns;
    if (count < 1 || expected > MAX_BYTES) {
      throw new IdxException(
          file,
          "header promises "
              + Integer.toUnsignedString(count)
              + " items of "
              + size(rows, columns)
              + ": 1 item to 2 GiB are supported");
    }
    // readNBytes grows with what is really there, so a lying header costs no memory.
    byte[] values = in.readNBytes((int) expected);
    if (values.length < expected) {
      throw new IdxException(
          file, "truncated: " + values.length + " of " + expected + " bytes after the header");
    }
    // Reading on to the end also makes gzip check its CRC.
    if (in.read() != -1) {
      throw new IdxException(file, "more than the " + expected + " bytes its header promises");
    }
    return new Content(count, rows, columns, values);
  }

  private static String size(int rows, int columns) {
    return Integer.toUnsignedString(rows) + " x " + Integer.toUnsignedString(columns);
  }

  /**
   * Tells what it has left over, because GZIPInputStream silently ignores bytes after the end. That
   * can be told exactly only if its buffer holds the whole file.
   */
  private static final class Gzip extends GZIPInputStream {
    Gzip(byte[] file) throws IOException {
      super(new ByteArrayInputStream(file), file.length + 1);
    }

    /** Bytes used neither as data nor as trailer; valid at the end. */
    int trailing() {
      return inf.getRemaining() - GZIP_TRAILER;
    }
  }
}
