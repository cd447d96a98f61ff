package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.GZIPOutputStream;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class IdxFilesTest {
  private static final String TRAIN_IMAGES = "train-images-idx3-ubyte";
  private static final String TRAIN_LABELS = "train-labels-idx1-ubyte";
  private static final String TEST_IMAGES = "t10k-images-idx3-ubyte";
  private static final String TEST_LABELS = "t10k-labels-idx1-ubyte";
  private static final int IMAGES = 0x803;
  private static final int LABELS = 0x801;

  /** Three images of 2 x 4 in training, one in the test set. */
  private static final byte[] PIXELS = {
    0, 1, 127, -128, -127, -1, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24, 25, 26, 27
  };

  @TempDir Path directory;

  @BeforeEach
  void writeGoodFiles() throws IOException {
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 3, 2, 4));
    write(TRAIN_LABELS, idx(new byte[] {9, 0, 5}, LABELS, 3));
    write(TEST_IMAGES, idx(new byte[] {1, 2, 3, 4, 5, 6, 7, 8}, IMAGES, 1, 2, 4));
    write(TEST_LABELS, idx(new byte[] {4}, LABELS, 1));
  }

  @Test
  void readsPlainFiles() throws IOException {
    TrainTest sets = IdxFiles.read(directory);

    Dataset train = sets.train();
    assertEquals(directory.getFileName().toString(), train.name());
    assertEquals("3 images of " + TRAIN_IMAGES, train.description());
    assertEquals(3, train.count());
    assertEquals(2, train.rows());
    assertEquals(4, train.columns());
    assertEquals(8, train.pixels());
    assertEquals(10, train.classes());
    assertArrayEquals(PIXELS, train.images());
    assertArrayEquals(new byte[] {9, 0, 5}, train.labels());
    assertArrayEquals(
        new byte[] {0, 0, 0, 1, 1, 1, 0, 0}, Arrays.copyOf(train.binarized(), train.pixels()));
    assertEquals(1, sets.test().count());
    assertArrayEquals(new byte[] {4}, sets.test().labels());
  }

  @Test
  void readsCompressedFilesBesidePlainOnes() throws IOException {
    compress(TRAIN_IMAGES);
    compress(TEST_LABELS);
    TrainTest sets = IdxFiles.read(directory);
    assertArrayEquals(PIXELS, sets.train().images());
    assertArrayEquals(new byte[] {4}, sets.test().labels());
  }

  @Test
  void readsGzipOfSeveralMembers() throws IOException {
    byte[] all = read(TRAIN_IMAGES);
    byte[] first = gzip(Arrays.copyOf(all, 21));
    byte[] second = gzip(Arrays.copyOfRange(all, 21, all.length));
    replaceByGzip(TRAIN_IMAGES, concat(first, second));
    assertArrayEquals(PIXELS, IdxFiles.read(directory).train().images());
  }

  @Test
  void missingDirectory() {
    Path nowhere = directory.resolve("nowhere");
    IdxException e = assertThrows(IdxException.class, () -> IdxFiles.read(nowhere));
    assertEquals(nowhere + ": no such directory", e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS})
  void missingFile(String name) throws IOException {
    Files.delete(directory.resolve(name));
    assertRejected(name, "no such file, nor " + name + ".gz");
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 3, 4, 15})
  void truncatedHeader(int length) throws IOException {
    write(TRAIN_IMAGES, Arrays.copyOf(read(TRAIN_IMAGES), length));
    assertRejected(TRAIN_IMAGES, "truncated: " + length + " bytes of a header of 16");
  }

  @Test
  void truncatedValues() throws IOException {
    write(TRAIN_IMAGES, Arrays.copyOf(read(TRAIN_IMAGES), 16 + 23));
    assertRejected(TRAIN_IMAGES, "truncated: 23 of 24 bytes after the header");
  }

  @Test
  void trailingBytes() throws IOException {
    write(TEST_LABELS, concat(read(TEST_LABELS), new byte[1]));
    assertRejected(TEST_LABELS, "more than the 1 bytes its header promises");
  }

  @Test
  void wrongMagic() throws IOException {
    write(TRAIN_LABELS, read(TRAIN_IMAGES));
    assertRejected(TRAIN_LABELS, "magic number is 0x00000803, expected 0x00000801");
  }

  @Test
  void gzipUnderAPlainName() throws IOException {
    write(TRAIN_LABELS, gzip(read(TRAIN_LABELS)));
    assertRejected(TRAIN_LABELS, "magic number is 0x1f8b0800, expected 0x00000801");
  }

  @Test
  void absurdSides() throws IOException {
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 3, 0, 4));
    assertRejected(TRAIN_IMAGES, "images of 0 x 4 pixels: sides of 1 .. 4096 are supported");
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 3, 2, -1));
    assertRejected(TRAIN_IMAGES, "images of 2 x 4294967295 pixels");
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 3, 4097, 4));
    assertRejected(TRAIN_IMAGES, "images of 4097 x 4 pixels");
  }

  @Test
  void absurdCounts() throws IOException {
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 0, 2, 4));
    assertRejected(TRAIN_IMAGES, "header promises 0 items of 2 x 4");
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, -1, 2, 4));
    assertRejected(TRAIN_IMAGES, "header promises 4294967295 items of 2 x 4");
    // Products beyond 32 bits, the second of which wraps to 0.
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, Integer.MAX_VALUE, 4096, 4096));
    assertRejected(TRAIN_IMAGES, "header promises 2147483647 items of 4096 x 4096");
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, 256, 4096, 4096));
    assertRejected(TRAIN_IMAGES, "header promises 256 items of 4096 x 4096");
  }

  @Test
  void promiseOfManyBytesIsNotAllocated() throws IOException {
    int count = 75_000_000;
    write(TRAIN_IMAGES, idx(PIXELS, IMAGES, count, 2, 2));
    long before = allocated();
    assertRejected(TRAIN_IMAGES, "truncated: 24 of 300000000 bytes after the header");
    long bytes = allocated() - before;
    assertTrue(bytes < 16 << 20, "allocated " + bytes + " bytes");
  }

  @Test
  void countsDiffer() throws IOException {
    write(TRAIN_LABELS, idx(new byte[] {1, 2}, LABELS, 2));
    assertRejected(TRAIN_LABELS, "2 labels for 3 images in " + TRAIN_IMAGES);
  }

  @Test
  void labelOutOfRange() throws IOException {
    write(TRAIN_LABELS, idx(new byte[] {1, 10, 3}, LABELS, 3));
    assertRejected(TRAIN_LABELS, "label 10 of image 1 is not in 0 .. 9");
    write(TRAIN_LABELS, idx(new byte[] {1, 2, -1}, LABELS, 3));
    assertRejected(TRAIN_LABELS, "label 255 of image 2 is not in 0 .. 9");
  }

  @Test
  void setsOfDifferentSize() throws IOException {
    write(TEST_IMAGES, idx(new byte[8], IMAGES, 1, 4, 2));
    assertRejected(TEST_IMAGES, "images are 4 x 2, those of the training set 2 x 4");
  }

  @Test
  void damagedGzip() throws IOException {
    byte[] good = gzip(read(TRAIN_IMAGES));
    String name = TRAIN_IMAGES + ".gz";

    byte[] badCrc = good.clone();
    badCrc[good.length - 8] ^= 1;
    replaceByGzip(TRAIN_IMAGES, badCrc);
    assertRejected(name, "damaged gzip data: ");

    byte[] badHeader = good.clone();
    badHeader[0] = 0;
    replaceByGzip(TRAIN_IMAGES, badHeader);
    assertRejected(name, "damaged gzip data: Not in GZIP format");

    for (int length = 0; length < good.length; length++) {
      replaceByGzip(TRAIN_IMAGES, Arrays.copyOf(good, length));
      assertRejected(name, "truncated: the gzip data end too early");
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 9, 30, 100_000})
  void bytesAfterGzip(int trailing) throws IOException {
    byte[] garbage = new byte[trailing];
    Arrays.fill(garbage, (byte) 'x');
    replaceByGzip(TRAIN_IMAGES, concat(gzip(read(TRAIN_IMAGES)), garbage));
    assertRejected(TRAIN_IMAGES + ".gz", trailing + " bytes after the end of the gzip data");
  }

  @Test
  void readsMnist() throws IOException {
    String where = System.getProperty("fusednorm.mnist", System.getenv("FUSEDNORM_MNIST"));
    Required.assume(
        "mnist", where != null, "neither -Dfusednorm.mnist nor FUSEDNORM_MNIST names a directory");
    TrainTest mnist = IdxFiles.read(Path.of(where));
    assertEquals(60_000, mnist.train().count());
    assertEquals(10_000, mnist.test().count());
    assertEquals(784, mnist.train().pixels());
    // The first digits of both sets, as everyone knows them.
    assertArrayEquals(new byte[] {5, 0, 4, 1, 9, 2}, Arrays.copyOf(mnist.train().labels(), 6));
    assertArrayEquals(new byte[] {7, 2, 1, 0, 4, 1}, Arrays.copyOf(mnist.test().labels(), 6));
  }

  private void assertRejected(String name, String problem) {
    IdxException e = assertThrows(IdxException.class, () -> IdxFiles.read(directory));
    String start = directory.resolve(name) + ": ";
    assertTrue(
        e.getMessage().startsWith(start) && e.getMessage().contains(problem),
        () -> "expected " + start + problem + " but was " + e.getMessage());
  }

  private static long allocated() {
    return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
  }

  private static byte[] idx(byte[] values, int... header) {
    ByteBuffer file = ByteBuffer.allocate(4 * header.length + values.length);
    for (int word : header) {
      file.putInt(word);
    }
    return file.put(values).array();
  }

  private byte[] read(String name) throws IOException {
    return Files.readAllBytes(directory.resolve(name));
  }

  private void write(String name, byte[] bytes) throws IOException {
    Files.write(directory.resolve(name), bytes);
  }

  private void compress(String name) throws IOException {
    replaceByGzip(name, gzip(read(name)));
  }

  private void replaceByGzip(String name, byte[] gzip) throws IOException {
    Files.deleteIfExists(directory.resolve(name));
    write(name + ".gz", gzip);
  }

  private static byte[] gzip(byte[] bytes) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (GZIPOutputStream gzip = new GZIPOutputStream(out)) {
      gzip.write(bytes);
    }
    return out.toByteArray();
  }

  private static byte[] concat(byte[] a, byte[] b) {
    byte[] both = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, both, a.length, b.length);
    return both;
  }
}
