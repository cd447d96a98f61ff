package org.fusednorm;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.logging.LogManager;
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a program does wrong, or the collector at a bad moment, is an exception and no dead JVM. */
class MemorySafetyTest {
  private static final String EACH = "org.fusednorm.testing.EachBackend#names";
  private static final String HOST = "org.fusednorm.testing.EachBackend#onHost";

  @ParameterizedTest
  @ValueSource(strings = {"unreachable", "tensor", "backend"})
  void memoryIsNotFreedUnderAKernel(String how) {
    ForkedJvm.Result r = ForkedJvm.run(List.of("-Dhow=" + how), Freeing.class);
    assertEquals(0, r.exit(), r.output());
    assertTrue(r.output().strip().endsWith("survived"), r.output());
  }

  /** Frees what a running verb works on: by the cleaner, by closing it, by closing all. */
  static final class Freeing {
    private static volatile boolean stop;

    private Freeing() {}

    public static void main(String[] args) throws InterruptedException {
      LogManager.getLogManager().reset();
      String how = System.getProperty("how");
      Backend b = Backends.open("cpu");
      Shape small = Shape.nc(64, 8);
      Tensor y = b.empty(small, DType.F32);
      Saved saved = Saved.empty(b, small, DType.F32, false);
      for (int i = 0; i < 20_000; i++) {
        forward(b, b.empty(small, DType.F32), saved, y);
      }
      if (how.equals("unreachable")) {
        whileCollecting(b);
      } else {
        for (int i = 0; i < 10; i++) {
          whileClosing(b, how);
        }
      }
      System.out.println("survived");
    }

    private static void forward(Backend b, Tensor x, Saved saved, Tensor y) {
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, saved, y);
    }

    private static void whileCollecting(Backend b) throws InterruptedException {
      Thread collector =
          new Thread(
              () -> {
                while (!stop) {
                  System.gc();
                }
              });
      collector.start();
      Shape big = Shape.nchw(8, 64, 128, 128);
      Tensor y = b.empty(big, DType.F32);
      Saved saved = Saved.empty(b, big, DType.F32, false);
      for (int i = 0; i < 10; i++) {
        forward(b, b.empty(big, DType.F32), saved, y);
      }
      stop = true;
      collector.join();
    }

    private static void whileClosing(Backend b, String how) throws InterruptedException {
      Backend mine = how.equals("backend") ? Backends.open("cpu") : b;
      Shape big = Shape.nchw(8, 64, 64, 64);
      Tensor x = mine.zeros(big, DType.F32);
      Tensor y = mine.empty(big, DType.F32);
      Saved saved = Saved.empty(mine, big, DType.F32, false);
      Thread closer =
          new Thread(
              () -> {
                Thread.onSpinWait();
                if (how.equals("backend")) {
                  mine.close();
                } else {
                  x.close();
                }
              });
      closer.start();
      try {
        for (int i = 0; i < 50; i++) {
          forward(mine, x, saved, y);
        }
        throw new AssertionError("worked on a closed tensor");
      } catch (IllegalStateException expected) {
        closer.join();
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void hostFunctionsUseNoBackend(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor x = b.of(Shape.of(1, 1), 1);
      Tensor one = b.of(Shape.of(1), 1);
      List<Runnable> forbidden =
          List.of(() -> b.math().addBias(x, one, x), x::toFloats, x::close, x::fillZero);
      for (Runnable r : forbidden) {
        // At once, or where the function runs later at the wait for it.
        RuntimeException e =
            assertThrows(
                RuntimeException.class,
                () -> {
                  b.host(r);
                  b.synchronize();
                });
        assertTrue(e.getMessage().contains("a host function may not use a backend"), e::toString);
      }
      assertEquals(1, x.isOpen() ? x.toFloats()[0] : 0);
    }
  }

  @ParameterizedTest(allowZeroInvocations = true)
  @MethodSource(HOST)
  void aFailedLaunchIsNotKept(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor logits = b.of(Shape.of(1, 2), 1, 2);
      Tensor bad = b.empty(Shape.of(1), DType.I64).copyFrom(5L);
      Tensor count = b.zeros(Shape.of(1), DType.I64);
      try (Recording r =
          b.record(
              () ->
                  assertThrows(
                      IllegalArgumentException.class,
                      () -> b.math().correct(logits, bad, count, Write.SET)))) {
        assertEquals(List.of(), r.launches());
        r.replay();
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void aBackendIsNotClosedInsideItsRecording(String name) {
    try (Backend b = Backends.open(name)) {
      assertThrows(IllegalStateException.class, () -> b.record(b::close));
      assertEquals(2, b.of(Shape.of(1), 2).toFloats()[0]);
    }
  }

  @ParameterizedTest(allowZeroInvocations = true)
  @MethodSource(HOST)
  void misreadBuffersAreRefused(String name) {
    try (Backend b = Backends.open(name)) {
      ByteBuffer big = ByteBuffer.allocateDirect(16);
      assertMessage("BIG_ENDIAN", () -> b.wrap(Shape.of(2), DType.F32, big));
      b.wrap(Shape.of(2), DType.U8, big).close();
      ByteBuffer odd = ByteBuffer.allocateDirect(16).order(ByteOrder.nativeOrder());
      assertMessage("position 1", () -> b.wrap(Shape.of(2), DType.F32, odd.position(1)));
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void whatIsMissingOrDoubledIsNamed(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).build()) {
      Tensor x = b.of(s, 1, 2, 3, 4, 5, 6, 7, 9);
      Tensor y = b.empty(s, DType.F32);
      NormOps norm = b.norm();
      Saved saved = Saved.empty(b, s, DType.F32, false);
      Running r = bn.running();
      assertMessage("activation", () -> norm.forward(x, Affine.NONE, 1e-5, null, null, saved, y));
      assertMessage("affine", () -> norm.forward(x, null, 1e-5, Activation.NONE, null, saved, y));
      assertMessage(
          "saved state", () -> norm.forward(x, Affine.NONE, 1e-5, Activation.NONE, null, null, y));
      assertMessage(
          "running statistics",
          () -> norm.infer(x, null, Affine.NONE, 1e-5, Activation.NONE, null, y));
      Pass p = bn.forward(x, y);
      assertMessage("write", () -> bn.backward(p, y, y, null));
      Affine twice = new Affine(bn.gradients().gamma(), bn.gradients().gamma());
      assertMessage("overlaps", () -> norm.gradients(p.sums(), twice, Write.SET));
      assertMessage(
          "another layer", () -> norm.commit(List.of(p.saved(), p.saved()), List.of(r, r)));
      assertMessage("momentum", () -> Running.moving(b, 2, Double.NaN, true));
      assertMessage(
          "exclude each other", () -> BatchNorm.builder(b, 2).cumulative().momentum(0.1).build());
      String again = assertThrows(IllegalStateException.class, () -> bn.commit(p)).getMessage();
      assertTrue(again.contains("committed already"), again);
      assertEquals(1, r.count().toLongs()[0]);
      try (Backend stranger = Backends.open(name);
          Running foreign = Running.cumulative(stranger, 2, true)) {
        assertMessage("move it there", () -> bn.withRunning(foreign));
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void settingsDoNotDependOnTheirOrder(String name) {
    try (Backend b = Backends.open(name);
        BatchNorm a = BatchNorm.builder(b, 1).momentum(0.75).profile(Profile.KERAS).build();
        BatchNorm c = BatchNorm.builder(b, 1).profile(Profile.KERAS).momentum(0.75).build()) {
      assertEquals(0.25, a.running().momentum().get());
      assertEquals(0.25, c.running().momentum().get());
      assertEquals(1e-3, a.eps());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void replaysAreForwardsToo(String name) {
    Shape s = Shape.nc(4, 2);
    try (Backend b = Backends.open(name);
        BatchNorm bn = BatchNorm.builder(b, 2).build()) {
      Tensor x = b.of(s, 1, 2, 3, 4, 5, 6, 7, 9);
      Tensor y = b.empty(s, DType.F32);
      Pass p = bn.pass(b, s, DType.F32);
      try (Recording r = b.record(() -> bn.forward(p, x, y))) {
        long recorded = p.generation();
        r.replay();
        assertThrows(
            IllegalStateException.class, () -> bn.backward(p, recorded, y, y, null, Write.SET));
      }
    }
  }

  @Test
  void elementsAcrossTheEndOfAWindow() {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    long window = 1L << 30;
    HostStorage s = HostStorage.allocate(window + 4096);
    try {
      float[] floats = new float[64];
      double[] doubles = new double[64];
      short[] shorts = new short[64];
      byte[] bytes = new byte[64];
      for (int i = 0; i < 64; i++) {
        floats[i] = i + 0.5f;
        doubles[i] = i + 0.25;
        shorts[i] = (short) (i * 1000);
        bytes[i] = (byte) i;
      }
      s.put(window - 128, floats, 0, 64);
      float[] floatsBack = new float[64];
      s.get(window - 128, floatsBack, 0, 64);
      assertArrayEquals(floats, floatsBack);
      assertEquals(32.5f, s.getFloat(window));
      s.put(window - 256, doubles, 0, 64);
      double[] doublesBack = new double[64];
      s.get(window - 256, doublesBack, 0, 64);
      assertArrayEquals(doubles, doublesBack);
      s.put(window - 64, shorts, 0, 64);
      short[] shortsBack = new short[64];
      s.get(window - 64, shortsBack, 0, 64);
      assertArrayEquals(shorts, shortsBack);
      s.put(window - 32, bytes, 0, 64);
      byte[] bytesBack = new byte[64];
      s.get(window - 32, bytesBack, 0, 64);
      assertArrayEquals(bytes, bytesBack);
      ByteBuffer down = ByteBuffer.allocate(64);
      s.download(window - 32, down, 0, 64);
      assertArrayEquals(bytes, down.array());
      s.zero(window - 8, 16);
      assertEquals(0, s.getByte(window + 7));
      assertEquals(40, s.getByte(window + 8));
    } finally {
      s.free();
    }
  }

  private static void assertMessage(String part, Runnable r) {
    String text = assertThrows(IllegalArgumentException.class, r::run).getMessage();
    assertTrue(text.contains(part), text);
  }
}
