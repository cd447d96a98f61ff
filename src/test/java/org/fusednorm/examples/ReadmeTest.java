package org.fusednorm.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.SplittableRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The README's examples are these classes, and they do what it says. */
class ReadmeTest {
  private static final Path EXAMPLES = Path.of("src/test/java/org/fusednorm/examples");

  @ParameterizedTest
  @CsvSource({"QuickStart,quick start", "OwnLoop,own loop"})
  void theReadmeShowsTheTestedCode(String name, String marker) throws IOException {
    String source = Files.readString(EXAMPLES.resolve(name + ".java"));
    Matcher m =
        Pattern.compile("    // README: " + marker + "\n(.*?)    // README: end", Pattern.DOTALL)
            .matcher(source);
    assertTrue(m.find(), marker);
    String code = m.group(1).replaceAll("(?m)^ {4}", "");
    String readme = Files.readString(Path.of("README.md"));
    assertTrue(
        readme.contains("```java\n" + code + "```"),
        () -> "README.md does not show this code of " + name + ":\n" + code);
  }

  @Test
  void quickStartNormalizes() {
    int n = 8 * 64 * 28 * 28;
    SplittableRandom r = new SplittableRandom(1);
    float[] pixels = new float[n];
    float[] upstream = new float[n];
    for (int i = 0; i < n; i++) {
      pixels[i] = (float) (5 + r.nextDouble());
      upstream[i] = (float) r.nextDouble();
    }
    float[] y = QuickStart.run(pixels, upstream);
    // Uniform values: half of them are cut off, the others' mean is sqrt(3) / 2 deviations.
    double sum = 0;
    for (float v : y) {
      sum += v;
    }
    assertEquals(Math.sqrt(3) / 4, sum / n, 0.01);
  }

  @Test
  void ownLoopDescends() {
    ByteBuffer foreign = ByteBuffer.allocateDirect(60 * 100 * 4).order(ByteOrder.nativeOrder());
    SplittableRandom r = new SplittableRandom(1);
    for (int i = 0; i < 6000; i++) {
      foreign.putFloat(4 * i, (float) r.nextDouble());
    }
    // The gradient of gamma is 60 gamma for |y|^2 / 2 of 60 normalized rows: one step of rate 0.1
    // takes gamma from 1 to 1 - 6 = -5 (less what eps takes from the variance of 1/12).
    for (float gamma : OwnLoop.run(foreign, 1)) {
      assertEquals(-5, gamma, 0.01);
    }
  }
}
