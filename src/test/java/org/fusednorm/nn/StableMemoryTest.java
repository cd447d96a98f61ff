package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;

/** Ten thousand training steps leave memory where it was after the first two thousand. */
class StableMemoryTest {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final int WARM = 2_000;
  private static final int STEPS = 10_000;

  /** What the JIT compiler may still add after the first steps; a leak of 1 KB a step is more. */
  private static final long SLACK_KB = 8 << 10;

  @Test
  void tenThousandSteps() {
    Required.assume("linux", Files.isReadable(STATUS), "no " + STATUS);
    ForkedJvm.Result r =
        ForkedJvm.run(
            List.of(
                "-Xms64m",
                "-XX:+UseSerialGC",
                "-XX:+AlwaysPreTouch",
                "-XX:ReservedCodeCacheSize=24m",
                "-Dfusednorm.backend=cpu"),
            Training.class);
    assertEquals(0, r.exit(), r.output());
    String[] last = r.output().strip().lines().reduce((a, b) -> b).orElseThrow().split(" ");
    assertEquals("memory", last[0], r.output());
    assertEquals(Long.parseLong(last[1]), Long.parseLong(last[2]), "native bytes: " + r.output());
    long grown = Long.parseLong(last[4]) - Long.parseLong(last[3]);
    assertTrue(grown < SLACK_KB, "resident size grew by " + grown + " KB: " + r.output());
  }

  /** Trains the paper's network, a new batch from the host in each step; prints memory in use. */
  static final class Training {
    private Training() {}

    public static void main(String[] args) throws IOException {
      try (Backend b = Backends.best()) {
        Generator random = new Generator(1);
        Init small = Init.gaussian(0.01, random);
        Sequential.Builder layers = Sequential.builder();
        for (int i = 1, in = 784; i <= 3; i++, in = 100) {
          layers.add("dense" + i, Dense.builder(b, in, 100, small).bias(false).build());
          layers.add("norm" + i, new Normalize(BatchNorm.builder(b, 100)));
          layers.add("sigmoid" + i, Activate.sigmoid());
        }
        Sequential net = layers.add("dense4", Dense.builder(b, 100, 10, small).build()).build();
        float[] pixels = new float[60 * 784];
        long[] digits = new long[60];
        Tensor x = b.zeros(Shape.nc(60, 784), DType.F32);
        Tensor labels = b.zeros(Shape.of(60), DType.I64);
        BoundSequential bound = net.bind(x, Use.TRAIN, b);
        SoftmaxCrossEntropy loss = SoftmaxCrossEntropy.bind(bound.y(), labels, b);
        Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.5).build();
        Recording step =
            b.record(
                () -> {
                  bound.forward();
                  loss.forward();
                  bound.backward(loss.dlogits(), Write.SET);
                  sgd.step();
                });
        long nativeWarm = 0;
        long residentWarm = 0;
        for (int i = 0; i < STEPS; i++) {
          for (int k = 0; k < 60; k++) {
            digits[k] = random.nextInt(10);
            pixels[k * 784 + random.nextInt(784)] = digits[k];
          }
          x.copyFrom(pixels);
          labels.copyFrom(digits);
          step.replay();
          if (i == WARM) {
            nativeWarm = nativeBytes();
            residentWarm = residentKb();
          }
        }
        System.out.println(
            "memory " + nativeWarm + " " + nativeBytes() + " " + residentWarm + " " + residentKb());
      }
    }

    private static long nativeBytes() {
      return NativeLibrary.isAvailable() ? NativeLibrary.allocatedBytes() : 0;
    }

    private static long residentKb() throws IOException {
      return Files.readAllLines(STATUS).stream()
          .filter(l -> l.startsWith("VmRSS:"))
          .mapToLong(l -> Long.parseLong(l.replaceAll("\\D", "")))
          .findFirst()
          .orElseThrow();
    }
  }
}
