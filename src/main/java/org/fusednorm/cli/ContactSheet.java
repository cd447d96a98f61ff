package org.fusednorm.cli;

import java.awt.image.BufferedImage;
import java.awt.image.WritableRaster;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.Arrays;
import javax.imageio.ImageIO;

/** Shows what a data set looks like: its first images of each class, one row per class. */
public final class ContactSheet {
  private static final int PER_CLASS = 10;
  private static final int GAP = 2;

  private ContactSheet() {}

  /**
   * Draws the first ten images of each class as dark ink on white paper. Needs no display and no
   * fonts.
   *
   * @param set the images; a class with fewer than ten leaves its row short
   * @return a PNG file's bytes, in grey
   * @throws IOException if the picture cannot be encoded
   */
  public static byte[] png(Dataset set) throws IOException {
    int cellWidth = set.columns() + GAP;
    int cellHeight = set.rows() + GAP;
    BufferedImage sheet =
        new BufferedImage(
            PER_CLASS * cellWidth + GAP,
            set.classes() * cellHeight + GAP,
            BufferedImage.TYPE_BYTE_GRAY);
    WritableRaster raster = sheet.getRaster();
    int[] paper = new int[sheet.getWidth() * sheet.getHeight()];
    Arrays.fill(paper, 255);
    raster.setSamples(0, 0, sheet.getWidth(), sheet.getHeight(), 0, paper);
    int[] shown = new int[set.classes()];
    for (int i = 0; i < set.count(); i++) {
      int label = set.labels()[i];
      if (shown[label] < PER_CLASS) {
        int left = GAP + shown[label]++ * cellWidth;
        int top = GAP + label * cellHeight;
        for (int p = 0; p < set.pixels(); p++) {
          int ink = set.images()[i * set.pixels() + p] & 0xFF;
          raster.setSample(left + p % set.columns(), top + p / set.columns(), 0, 255 - ink);
        }
      }
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    if (!ImageIO.write(sheet, "png", bytes)) {
      throw new IOException("this Java runtime has no PNG encoder");
    }
    return bytes.toByteArray();
  }
}
