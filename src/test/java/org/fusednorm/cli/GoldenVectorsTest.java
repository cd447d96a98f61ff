package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.IntToDoubleFunction;
import org.fusednorm.DType;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class GoldenVectorsTest {
  private static final Path RESOURCE =
      Path.of("src/main/resources/org/fusednorm/golden/batchnorm.json");

  static List<GoldenVectors.Case> cases() {
    return GoldenVectors.load();
  }

  @Test
  void theScriptGivesTheCommittedFile(@TempDir Path directory) throws Exception {
    Path output = directory.resolve("batchnorm.json");
    Path errors = directory.resolve("errors.txt");
    Process python;
    try {
      python =
          new ProcessBuilder("python3", "src/test/golden/generate.py")
              .redirectOutput(output.toFile())
              .redirectError(errors.toFile())
              .start();
    } catch (IOException e) {
      Required.assume("python3", false, "it cannot be started: " + e.getMessage());
      return;
    }
    try {
      assertTrue(python.waitFor(120, TimeUnit.SECONDS), "the script does not end");
    } finally {
      python.destroyForcibly();
    }
    assertEquals(0, python.exitValue(), Files.readString(errors));
    assertEquals(
        Files.readString(RESOURCE, StandardCharsets.UTF_8),
        Files.readString(output, StandardCharsets.UTF_8));
  }

  @Test
  void theFileIsSmallAndCoversWhatItShould() throws IOException {
    assertTrue(Files.size(RESOURCE) < 60_000, Files.size(RESOURCE) + " bytes");
    Set<String> names = new HashSet<>();
    Set<String> layouts = new HashSet<>();
    Set<DType> types = new HashSet<>();
    for (GoldenVectors.Case c : cases()) {
      assertTrue(names.add(c.name()), "twice: " + c.name());
      layouts.add(c.layout());
      types.addAll(c.exactIn());
    }
    assertEquals(Set.of("NC", "NCHW", "NHWC"), layouts);
    assertEquals(Set.of(DType.F32, DType.F64, DType.F16, DType.BF16), types);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void everyFieldIsThere(GoldenVectors.Case c) {
    int size = Math.toIntExact(Arrays.stream(c.shape()).reduce(1, Math::multiplyExact));
    int channels = c.channels();
    assertEquals(c.layout().length(), c.shape().length);
    assertTrue(Set.of("NONE", "RELU").contains(c.activation()), c.activation());
    assertEquals(3, c.batches().length);
    for (double[] batch : c.batches()) {
      assertEquals(size, batch.length);
    }
    assertEquals(size, c.dy().length);
    assertSize("gamma", c.gamma(), c.gamma() != null, channels);
    assertSize("beta", c.beta(), c.beta() != null, channels);
    assertSize("residual", c.residual(), c.residual() != null, size);
    for (GoldenVectors.Outputs o : List.of(c.training(), c.inference())) {
      assertSize("y", o.y(), true, size);
      assertSize("dx", o.dx(), true, size);
      assertSize("dgamma", o.dgamma(), c.gamma() != null, channels);
      assertSize("dbeta", o.dbeta(), c.beta() != null, channels);
      assertSize("dresidual", o.dresidual(), c.residual() != null, size);
    }
    for (GoldenVectors.Moments m :
        List.of(c.start(), c.running(), c.cumulative(), c.population())) {
      assertSize("mean", m.mean(), true, channels);
      assertSize("variance", m.variance(), true, channels);
    }
    GoldenVectors.Statistics s = c.statistics();
    for (double[] values : List.of(s.mean(), s.variance(), s.unbiasedVariance(), s.invstd())) {
      assertSize("statistics", values, true, channels);
    }
  }

  private static void assertSize(String name, double[] values, boolean present, int size) {
    if (present) {
      assertEquals(size, values.length, name);
    } else {
      assertNull(values, name);
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void inputsAreExactInTheTypesTheyClaim(GoldenVectors.Case c) {
    Map<DType, Integer> significandBits =
        Map.of(DType.F64, 53, DType.F32, 24, DType.F16, 11, DType.BF16, 8);
    for (DType type : c.exactIn()) {
      int bits = significandBits.get(type);
      for (double[] values : List.of(c.batches()[0], c.batches()[1], c.batches()[2], c.dy())) {
        for (double v : values) {
          // Rounding to that many bits by a shift up and down (Dekker); exponents are small here.
          double shifted = v * ((1L << (53 - bits)) + 1);
          double rounded = bits == 53 ? v : shifted - (shifted - v);
          assertEquals(rounded, v, type + " does not hold it");
          assertTrue(v == 0 || Math.abs(v) >= 0x1p-14, v + " is subnormal in F16");
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void gradientsOfTheInputSumToZero(GoldenVectors.Case c) {
    double[] dx = c.training().dx();
    double[] scale = sums(c, i -> Math.abs(dx[i]));
    double[] sum = sums(c, i -> dx[i]);
    double[] sumXhat = sums(c, i -> dx[i] * xhat(c, i));
    for (int k = 0; k < c.channels(); k++) {
      assertEquals(0, sum[k], 1e-13 * (1 + scale[k]), "sum of dx, channel " + k);
      // The sum is gamma * invstd * eps * sum(dy * xhat) * invstd^2 exactly: zero as eps goes to 0.
      double gated = sums(c, i -> gate(c, i) * c.dy()[i] * xhat(c, i))[k];
      double gamma = c.gamma() == null ? 1 : c.gamma()[k];
      double expected = gamma * c.eps() * Math.pow(c.statistics().invstd()[k], 3) * gated;
      assertEquals(expected, sumXhat[k], 1e-12 * (1 + scale[k]), "sum of dx * xhat, channel " + k);
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void outputsHaveMeanBetaAndTheScaledVariance(GoldenVectors.Case c) {
    if (c.activation().equals("RELU") || c.residual() != null) {
      return;
    }
    int m = c.dy().length / c.channels();
    double[] y = c.training().y();
    double[] sum = sums(c, i -> y[i]);
    for (int k = 0; k < c.channels(); k++) {
      double beta = c.beta() == null ? 0 : c.beta()[k];
      double gamma = c.gamma() == null ? 1 : c.gamma()[k];
      double mean = sum[k] / m;
      assertEquals(beta, mean, 1e-14 * m, "mean of y, channel " + k);
      double variance = sums(c, i -> (y[i] - mean) * (y[i] - mean))[k] / m;
      double v = c.statistics().variance()[k];
      assertEquals(gamma * gamma * v / (v + c.eps()), variance, 1e-13, "variance of y " + k);
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void sumsOfTheGradientAreItsParameterGradients(GoldenVectors.Case c) {
    double[] dbeta = sums(c, i -> gate(c, i) * c.dy()[i]);
    double[] dgamma = sums(c, i -> gate(c, i) * c.dy()[i] * xhat(c, i));
    if (c.beta() != null) {
      assertArrayEquals(dbeta, c.training().dbeta(), 1e-13);
    }
    if (c.gamma() != null) {
      assertArrayEquals(dgamma, c.training().dgamma(), 1e-8);
    }
    if (c.residual() != null) {
      for (int i = 0; i < c.dy().length; i++) {
        assertEquals(gate(c, i) * c.dy()[i], c.training().dresidual()[i], 0.0);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void runningStatisticsWeighTheNewValueByTheMomentum(GoldenVectors.Case c) {
    for (int k = 0; k < c.channels(); k++) {
      double mean = 0.9 * c.start().mean()[k] + 0.1 * c.statistics().mean()[k];
      double variance = 0.9 * c.start().variance()[k] + 0.1 * c.statistics().unbiasedVariance()[k];
      assertEquals(mean, c.running().mean()[k], 1e-15 * (1 + Math.abs(mean)) * 4);
      assertEquals(variance, c.running().variance()[k], 4e-15 * (1 + variance));
    }
  }

  private static double xhat(GoldenVectors.Case c, int i) {
    int k = c.channelOf(i);
    return (c.x()[i] - c.statistics().mean()[k]) * c.statistics().invstd()[k];
  }

  /** 1 where the activation lets a gradient pass: it does wherever its output is not zero. */
  private static double gate(GoldenVectors.Case c, int i) {
    return c.activation().equals("RELU") && c.training().y()[i] == 0 ? 0 : 1;
  }

  private static double[] sums(GoldenVectors.Case c, IntToDoubleFunction term) {
    double[] sums = new double[c.channels()];
    for (int i = 0; i < c.dy().length; i++) {
      sums[c.channelOf(i)] += term.applyAsDouble(i);
    }
    return sums;
  }
}
