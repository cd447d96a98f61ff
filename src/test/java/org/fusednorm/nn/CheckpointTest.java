package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Training that goes on from a file, and files that do not fit. */
class CheckpointTest {
  @TempDir Path directory;

  private static Map<String, Tensor> state(Sequential net, Sgd sgd) {
    Map<String, Tensor> all = new LinkedHashMap<>(net.state());
    all.putAll(sgd.state());
    return all;
  }

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void resumedTrainingMakesTheSameBits(String name) throws IOException {
    Path file = directory.resolve("step.safetensors");
    try (Backend b = Backends.open(name)) {
      Tensor x = Nets.gaussian(b, Shape.nc(9, 6), DType.F32, 1);
      Tensor labels = Nets.labels(b, 3, 9, 2);
      Sequential net = Nets.sigmoid(b, DType.F32, true, 5, 6, 4, 4, 3);
      Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.5).momentum(0.9).build();
      Nets.Step step = new Nets.Step(net, sgd, x, labels);
      for (int i = 0; i < 5; i++) {
        step.run();
      }
      Checkpoint.write(file, state(net, sgd), Map.of("step", "5"));
      for (int i = 0; i < 5; i++) {
        step.run();
      }

      Sequential other = Nets.sigmoid(b, DType.F32, true, 77, 6, 4, 4, 3);
      Sgd otherSgd = Sgd.builder(b, other.parameters()).learningRate(0.5).momentum(0.9).build();
      assertEquals(Map.of("step", "5"), Checkpoint.read(file, state(other, otherSgd)));
      Nets.Step resumed = new Nets.Step(other, otherSgd, x, labels);
      for (int i = 0; i < 5; i++) {
        resumed.run();
      }
      Map<String, double[]> expected = Nets.values(state(net, sgd));
      Map<String, double[]> actual = Nets.values(state(other, otherSgd));
      expected.forEach((key, v) -> assertArrayEquals(v, actual.get(key), key));
      assertEquals(10, actual.get("norm1.num_batches_tracked")[0]);
    }
  }

  @Test
  void namesTypesAndShapesAreThoseOfTheState() throws IOException {
    Path file = directory.resolve("net.safetensors");
    try (Backend b = Backends.open("reference")) {
      Sequential net = Nets.sigmoid(b, DType.F32, true, 5, 6, 4, 3);
      Checkpoint.write(file, net.state(), Map.of());
    }
    try (SafetensorsReader r = Safetensors.read(file)) {
      assertEquals("F32 [4, 6]", r.entry("dense1.weight").toString());
      assertEquals("F64 [4]", r.entry("norm1.running_mean").toString());
      assertEquals("I64 []", r.entry("norm1.num_batches_tracked").toString());
      assertEquals(8, r.names().size());
    }
  }

  @Test
  void tensorsOverOnePieceComeBackWhole() throws IOException {
    Path file = directory.resolve("large.safetensors");
    int n = (1 << 20) + 3;
    try (Backend b = Backends.open("reference")) {
      float[] v = new float[n];
      for (int i = 0; i < n; i++) {
        v[i] = i * 0.5f;
      }
      Checkpoint.write(file, Map.of("v", b.of(Shape.of(n), v)), Map.of());
      Tensor same = b.zeros(Shape.of(n), DType.F32);
      Checkpoint.read(file, Map.of("v", same));
      assertArrayEquals(v, same.toFloats());
      Tensor wider = b.zeros(Shape.of(n), DType.F64);
      Checkpoint.read(file, Map.of("v", wider));
      assertEquals((n - 1) * 0.5, wider.toDoubles()[n - 1]);
      assertEquals((1 << 19) * 0.5, wider.toDoubles()[1 << 19]);
    }
  }

  @Test
  void singlePrecisionStatisticsOfPyTorchAreTaken() throws IOException {
    Path file = directory.resolve("pytorch.safetensors");
    ByteBuffer mean = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    mean.putFloat(0.1f).putFloat(-3).flip();
    Safetensors.write(
        file,
        Map.of("m", Safetensors.Entry.of(new Safetensors.Info(DType.F32, 2), mean)),
        Map.of());
    try (Backend b = Backends.open("reference")) {
      Tensor t = b.zeros(Shape.of(2), DType.F64);
      Checkpoint.read(file, Map.of("m", t));
      assertArrayEquals(new double[] {0.1f, -3}, t.toDoubles());
    }
  }

  @Test
  void fileThatDoesNotFitChangesNothing() throws IOException {
    Path file = directory.resolve("net.safetensors");
    try (Backend b = Backends.open("reference")) {
      Tensor one = b.of(Shape.of(2), 1, 2);
      Tensor two = b.of(Shape.of(3), 3, 4, 5);
      Checkpoint.write(file, ordered("one", one, "two", two), Map.of());
      Tensor first = b.zeros(Shape.of(2), DType.F32);
      Tensor second = b.zeros(Shape.of(3), DType.F32);
      Tensor shaped = b.zeros(Shape.of(3, 1), DType.F32);
      Tensor typed = b.zeros(Shape.of(3), DType.I32);

      refused(file, "unexpected tensors 'two'", ordered("one", first));
      refused(
          file,
          "missing tensors 'three'; unexpected tensors 'two'",
          ordered("one", first, "three", second));
      refused(
          file,
          "tensor 'two': shape [3], required is [3, 1]",
          ordered("one", first, "two", shaped));
      refused(
          file, "tensor 'two': dtype F32, required is I32", ordered("one", first, "two", typed));
      byte[] bytes = Files.readAllBytes(file);
      Files.write(file, java.util.Arrays.copyOf(bytes, bytes.length - 1));
      refused(file, "two", ordered("one", first, "two", second));
      assertArrayEquals(new float[2], first.toFloats());
    }
  }

  @Test
  void failedWriteLeavesTheOldFile() throws IOException {
    Path file = directory.resolve("net.safetensors");
    try (Backend b = Backends.open("reference")) {
      Tensor one = b.of(Shape.of(2), 1, 2);
      Checkpoint.write(file, Map.of("one", one), Map.of());
      byte[] before = Files.readAllBytes(file);
      one.close();
      assertThrows(
          IllegalStateException.class, () -> Checkpoint.write(file, Map.of("one", one), Map.of()));
      assertArrayEquals(before, Files.readAllBytes(file));
      try (var files = Files.list(directory)) {
        assertEquals(1, files.count());
      }
    }
  }

  private static Map<String, Tensor> ordered(Object... pairs) {
    Map<String, Tensor> all = new LinkedHashMap<>();
    for (int i = 0; i < pairs.length; i += 2) {
      all.put((String) pairs[i], (Tensor) pairs[i + 1]);
    }
    return all;
  }

  private static void refused(Path file, String text, Map<String, Tensor> into) {
    String message =
        assertThrows(CheckpointException.class, () -> Checkpoint.read(file, into)).getMessage();
    assertTrue(message.contains(text), message);
  }
}
