package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class DatasetTest {
  private static Dataset of(int rows, int columns, int classes, byte[] images, byte... labels) {
    return new Dataset("name", "description", rows, columns, classes, images, labels);
  }

  @Test
  void binarizesEveryPixelValue() {
    byte[] images = new byte[256];
    byte[] expected = new byte[256];
    for (int value = 0; value < 256; value++) {
      images[value] = (byte) value;
      expected[value] = (byte) (value > 127 ? 1 : 0);
    }
    assertArrayEquals(expected, of(16, 16, 1, images, (byte) 0).binarized());
  }

  @Test
  void refusesPartsThatDoNotFit() {
    assertRefused("images of 0 x 4 in 10 classes", () -> of(0, 4, 10, new byte[0]));
    assertRefused("images of 2 x 2 in 0 classes", () -> of(2, 2, 0, new byte[0]));
    assertRefused(
        "7 pixels for 2 labels of 2 x 2", () -> of(2, 2, 10, new byte[7], (byte) 0, (byte) 1));
    assertRefused(
        "label 3 of image 1 is not in 0 .. 2", () -> of(1, 1, 3, new byte[2], (byte) 2, (byte) 3));
    assertRefused(
        "training set is 1 x 2 in 3 classes, test set is 2 x 1 in 3 classes",
        () -> new TrainTest(of(1, 2, 3, new byte[0]), of(2, 1, 3, new byte[0])));
  }

  private static void assertRefused(String message, Runnable action) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, action::run).getMessage());
  }
}
