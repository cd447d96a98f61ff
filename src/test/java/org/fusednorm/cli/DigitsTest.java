package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.ForkJoinPool;
import java.util.zip.CRC32;
import org.junit.jupiter.api.Test;

class DigitsTest {
  /** Recorded once; whoever changes it publishes another data set. */
  private static final long CRC_OF_STANDARD_SETS = 0x37a3966eL;

  @Test
  void sameBytesOnEveryJvm() {
    TrainTest sets = Digits.standard();
    assertEquals(60_000, sets.train().count());
    assertEquals(10_000, sets.test().count());
    CRC32 crc = new CRC32();
    crc.update(sets.train().images());
    crc.update(sets.test().images());
    assertEquals(Long.toHexString(CRC_OF_STANDARD_SETS), Long.toHexString(crc.getValue()));
  }

  @Test
  void parallelIsSerial() throws Exception {
    int count = 1_999;
    Dataset parallel = inPool(8, count);
    assertArrayEquals(parallel.images(), inPool(1, count).images());

    // One painter, images backwards: nothing of an image is left over in the next.
    byte[] backwards = new byte[count * 784];
    DigitPainter painter = new DigitPainter();
    for (int i = count - 1; i >= 0; i--) {
      painter.paint(i % 10, new CounterRandom(7, i), backwards, i * 784);
    }
    assertArrayEquals(parallel.images(), backwards);
  }

  private static Dataset inPool(int threads, int count) throws Exception {
    ForkJoinPool pool = new ForkJoinPool(threads);
    try {
      return pool.submit(() -> Digits.generate(7, count)).get();
    } finally {
      pool.shutdown();
    }
  }

  @Test
  void shorterSetIsTheBeginningOfALonger() {
    Dataset longer = Digits.generate(-1, 777);
    Dataset shorter = Digits.generate(-1, 300);
    assertArrayEquals(Arrays.copyOf(longer.images(), 300 * 784), shorter.images());
    assertArrayEquals(Arrays.copyOf(longer.labels(), 300), shorter.labels());
    assertEquals(0, Digits.generate(-1, 0).count());
  }

  @Test
  void classesAreBalanced() {
    int[] perClass = new int[10];
    for (byte label : Digits.generate(3, 5_000).labels()) {
      perClass[label]++;
    }
    assertArrayEquals(new int[] {500, 500, 500, 500, 500, 500, 500, 500, 500, 500}, perClass);
  }

  @Test
  void trainingAndTestSetShareNoImage() {
    TrainTest sets = Digits.standard();
    Set<String> seen = new HashSet<>();
    for (Dataset set : new Dataset[] {sets.train(), sets.test()}) {
      for (int i = 0; i < set.count(); i++) {
        String image = new String(set.images(), i * 784, 784, StandardCharsets.ISO_8859_1);
        assertTrue(seen.add(image), "image " + i + " of " + set.description() + " was seen before");
      }
    }
  }

  @Test
  void imagesLookLikeInkOnPaper() {
    Dataset set = Digits.generate(4, 2_000);
    byte[] bits = set.binarized();
    for (int i = 0; i < set.count(); i++) {
      int ink = 0;
      int darkest = 0;
      for (int p = i * 784; p < (i + 1) * 784; p++) {
        ink += bits[p];
        darkest = Math.max(darkest, set.images()[p] & 0xFF);
      }
      assertTrue(ink >= 10 && ink <= 350, "image " + i + " has " + ink + " dark pixels");
      assertTrue(darkest >= 200, "darkest pixel of image " + i + " is " + darkest);
    }
  }

  @Test
  void seedsDiffer() {
    assertNotEquals(
        Arrays.hashCode(Digits.generate(1, 10).images()),
        Arrays.hashCode(Digits.generate(2, 10).images()));
  }

  @Test
  void refusesCountsNoArrayHolds() {
    for (int count : new int[] {-1, Integer.MAX_VALUE / 784 + 1}) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> Digits.generate(1, count));
      assertEquals("count " + count + " is not in 0 .. 2739137", e.getMessage());
    }
  }
}
