package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;

class ContactSheetTest {
  /** Shown in the README. */
  private static final Path PICTURE = Path.of("docs", "digits.png");

  /** {@code mvn test -Dtest=ContactSheetTest -Dfusednorm.draw} draws the picture anew. */
  private static final boolean DRAW = System.getProperty("fusednorm.draw") != null;

  @Test
  void pictureInTheDocumentationShowsTheHeldOutDigits() throws IOException {
    byte[] png = ContactSheet.png(Digits.generate(Digits.TEST_SEED, 100));
    if (DRAW) {
      Files.createDirectories(PICTURE.getParent());
      Path whole = Files.createTempFile(PICTURE.getParent(), "digits", ".png");
      Files.write(whole, png);
      Files.move(whole, PICTURE, StandardCopyOption.ATOMIC_MOVE);
    }
    // Pixels, not bytes: encoders differ between Java releases.
    assertArrayEquals(pixels(Files.readAllBytes(PICTURE)), pixels(png));
  }

  @Test
  void rowPerClassInOrderOfAppearance() throws IOException {
    byte[] images = {10, 20, 30, 40};
    byte[] labels = {1, 0, 1, 1};
    BufferedImage sheet = decode(ContactSheet.png(new Dataset("d", "d", 1, 1, 2, images, labels)));
    assertEquals(10 * 3 + 2, sheet.getWidth());
    assertEquals(2 * 3 + 2, sheet.getHeight());
    assertEquals(255 - 20, sheet.getRaster().getSample(2, 2, 0));
    assertEquals(255, sheet.getRaster().getSample(5, 2, 0));
    assertEquals(255 - 10, sheet.getRaster().getSample(2, 5, 0));
    assertEquals(255 - 30, sheet.getRaster().getSample(5, 5, 0));
    assertEquals(255 - 40, sheet.getRaster().getSample(8, 5, 0));
  }

  private static BufferedImage decode(byte[] png) throws IOException {
    BufferedImage image = ImageIO.read(new ByteArrayInputStream(png));
    assertNotNull(image, "not a picture");
    return image;
  }

  private static int[] pixels(byte[] png) throws IOException {
    BufferedImage image = decode(png);
    return image.getRaster().getSamples(0, 0, image.getWidth(), image.getHeight(), 0, (int[]) null);
  }
}
