package org.fusednorm.cli;

import java.util.Objects;

/**
 * Labelled grey images, all of one size.
 *
 * <p>The arrays are not copied: neither on the way in nor on the way out. Whoever holds them leaves
 * them as they are.
 *
 * @param name a short name of the data, the same for its training and test set
 * @param description one line on where these images come from
 * @param rows height of an image in pixels
 * @param columns width of an image in pixels
 * @param classes number of classes; labels are 0 .. classes - 1
 * @param images one unsigned byte per pixel, 0 (paper) to 255 (ink), image after image, row-major
 * @param labels the class of each image
 */
public record Dataset(
    String name,
    String description,
    int rows,
    int columns,
    int classes,
    byte[] images,
    byte[] labels) {

  /**
   * Checks that the parts fit together.
   *
   * @throws IllegalArgumentException if a size is not positive, the arrays disagree on the number
   *     of images, or a label is not a class
   */
  public Dataset {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(description, "description");
    if (rows < 1 || columns < 1 || classes < 1 || classes > 128) {
      throw new IllegalArgumentException(
          "images of " + rows + " x " + columns + " in " + classes + " classes");
    }
    if (images.length != (long) labels.length * rows * columns) {
      throw new IllegalArgumentException(
          images.length + " pixels for " + labels.length + " labels of " + rows + " x " + columns);
    }
    for (int i = 0; i < labels.length; i++) {
      if (labels[i] < 0 || labels[i] >= classes) {
        throw new IllegalArgumentException(
            "label " + labels[i] + " of image " + i + " is not in 0 .. " + (classes - 1));
      }
    }
  }

  /**
   * Returns how many images there are.
   *
   * @return the number of images
   */
  public int count() {
    return labels.length;
  }

  /**
   * Returns how many pixels an image has, which is the number of inputs of a network.
   *
   * @return rows times columns
   */
  public int pixels() {
    return rows * columns;
  }

  /**
   * Returns the images as zeros and ones, the input of section 4.1 of arXiv 1502.03167.
   *
   * @return a new array laid out as {@link #images()}: 1 where the pixel is above 127, else 0
   */
  public byte[] binarized() {
    byte[] bits = new byte[images.length];
    for (int i = 0; i < bits.length; i++) {
      // Above 127 as an unsigned byte is the sign bit.
      bits[i] = (byte) ((images[i] & 0x80) >>> 7);
    }
    return bits;
  }
}
