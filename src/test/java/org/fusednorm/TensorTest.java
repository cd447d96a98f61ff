package org.fusednorm;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.util.List;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Memory, transfers and lifetimes, on every backend. */
class TensorTest {
  private static final String EACH = "org.fusednorm.testing.EachBackend#names";
  private static final String HOST = "org.fusednorm.testing.EachBackend#onHost";

  @ParameterizedTest
  @MethodSource(EACH)
  void everyTypeKeepsItsValues(String name) {
    try (Backend b = Backends.open(name)) {
      Shape s = Shape.of(2, 3);
      double[] fractions = {0, -1.5, 2.25, 65504, -0.0, 0x1p-14};
      for (DType t : new DType[] {DType.F32, DType.F16, DType.F64}) {
        assertArrayEquals(fractions, b.empty(s, t).copyFrom(fractions).toDoubles(), t.toString());
      }
      double[] coarse = {0, -1.5, 2.25, 65536, Double.NaN, Double.NEGATIVE_INFINITY};
      assertArrayEquals(coarse, b.empty(s, DType.BF16).copyFrom(coarse).toDoubles());
      long[] bytes = {0, 1, 127, 128, 254, 255};
      for (DType t : new DType[] {DType.U8, DType.I32, DType.I64}) {
        assertArrayEquals(bytes, b.empty(s, t).copyFrom(bytes).toLongs(), t.toString());
      }
      long[] extreme = {Long.MIN_VALUE, Long.MAX_VALUE, -1, (1L << 53) + 1, 0, 1};
      assertArrayEquals(extreme, b.empty(s, DType.I64).copyFrom(extreme).toLongs());
      assertArrayEquals(new float[6], b.zeros(s, DType.F32).toFloats());
      assertArrayEquals(new float[] {1, 2}, b.of(Shape.of(2), 1, 2).toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void valuesThatDoNotFitAreNamed(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor u8 = b.empty(Shape.of(1), DType.U8);
      assertMessage("256", () -> u8.copyFrom(256L));
      assertMessage("0.5", () -> u8.copyFrom(0.5f));
      assertMessage("-1", () -> b.empty(Shape.of(1), DType.U8).copyFrom(-1.0));
      assertMessage("3 values", () -> b.empty(Shape.of(2), DType.F32).copyFrom(1f, 2f, 3f));
      assertMessage("[2] F32", () -> b.empty(Shape.of(2), DType.F32).toLongs());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void transfersLongerThanTheStagingBuffer(String name) {
    try (Backend b = Backends.open(name)) {
      int n = 100_003;
      float[] v = new float[n];
      for (int i = 0; i < n; i++) {
        v[i] = i;
      }
      Tensor t = b.of(Shape.of(n), v);
      assertArrayEquals(v, t.toFloats());
      FloatBuffer back = FloatBuffer.allocate(n + 5).position(3).limit(n + 3);
      t.copyTo(back);
      assertEquals(3, back.position());
      assertEquals(n - 1, back.get(n + 2));
      assertEquals(0, back.get(2));
      FloatBuffer reversed = FloatBuffer.allocate(n);
      for (int i = 0; i < n; i++) {
        reversed.put(i, n - i);
      }
      assertEquals(n, t.copyFrom(reversed).toFloats()[0]);
      assertEquals(1, t.toFloats()[n - 1]);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void typedBuffersMustSuit(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor half = b.empty(Shape.of(2), DType.F16);
      half.copyFrom(ShortBuffer.wrap(new short[] {0x3c00, (short) 0xc000}));
      assertArrayEquals(new float[] {1, -2}, half.toFloats());
      ByteBuffer raw = ByteBuffer.allocate(4).order(ByteOrder.nativeOrder());
      half.copyTo(raw);
      assertEquals((short) 0xc000, raw.getShort(2));
      assertMessage("does not fit", () -> half.copyFrom(FloatBuffer.allocate(2)));
      assertMessage("does not fit", () -> half.copyFrom(ShortBuffer.allocate(3)));
      assertMessage("read-only", () -> half.copyTo(ShortBuffer.allocate(2).asReadOnlyBuffer()));
      Tensor rows = b.empty(Shape.of(2), DType.I64);
      rows.copyFrom(LongBuffer.wrap(new long[] {9, -9}));
      assertArrayEquals(new long[] {9, -9}, rows.toLongs());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void viewsShareElementsAndDieWithTheirOwner(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor t = b.of(Shape.of(3, 2), 1, 2, 3, 4, 5, 6);
      Tensor last = t.batch(1, 3);
      assertArrayEquals(new float[] {3, 4, 5, 6}, last.toFloats());
      last.as(Shape.of(4)).batch(0, 1).copyFrom(9f);
      assertArrayEquals(new float[] {1, 2, 9, 4, 5, 6}, t.toFloats());
      assertMessage("[3, 2]", () -> t.batch(2, 4));
      assertMessage("[5]", () -> t.as(Shape.of(5)));
      last.close();
      assertThrows(IllegalStateException.class, last::toFloats);
      assertEquals(6, t.toFloats().length);
      Tensor first = t.batch(0, 1);
      t.close();
      t.close();
      assertFalse(first.isOpen());
      String closed = assertThrows(IllegalStateException.class, first::toFloats).getMessage();
      assertTrue(closed.contains("[1, 2] F32 on " + b.device() + " was closed"), closed);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void copiesWithinAndBetweenBackends(String name) {
    try (Backend b = Backends.open(name);
        Backend other = Backends.open("reference")) {
      Tensor t = b.of(Shape.of(2, 2), 1, 2, 3, 4);
      Tensor twin = b.empty(Shape.of(2, 2), DType.F32).copyFrom(t);
      assertArrayEquals(new float[] {1, 2, 3, 4}, twin.toFloats());
      Tensor away = twin.moveTo(other);
      assertFalse(twin.isOpen());
      assertEquals(other.device(), away.device());
      assertArrayEquals(new float[] {1, 2, 3, 4}, away.toFloats());
      assertMessage("must agree", () -> t.copyFrom(b.empty(Shape.of(4), DType.F32)));
      assertMessage("partial overlap", () -> t.batch(0, 1).as(Shape.of(2)).copyFrom(overlap(t)));
    }
  }

  private static Tensor overlap(Tensor t) {
    return t.as(Shape.of(4)).batch(1, 3);
  }

  @ParameterizedTest(allowZeroInvocations = true)
  @MethodSource(HOST)
  void foreignBuffersAreSharedAndNeverFreed(String name) {
    try (Backend b = Backends.open(name)) {
      ByteBuffer mine = ByteBuffer.allocateDirect(28).order(ByteOrder.nativeOrder());
      long before = b.memory().bytesInUse();
      try (Tensor t = b.wrap(Shape.of(2, 3), DType.F32, mine.position(4))) {
        t.copyFrom(1f, 2f, 3f, 4f, 5f, 6f);
        assertEquals(6, mine.getFloat(24));
        mine.putFloat(4, 7);
        assertEquals(7, t.toFloats()[0]);
        assertEquals(before, b.memory().bytesInUse());
      }
      assertEquals(7, mine.getFloat(4));
      assertMessage("direct", () -> b.wrap(Shape.of(1), DType.F32, ByteBuffer.allocate(4)));
      assertMessage("direct", () -> b.wrap(Shape.of(1), DType.F32, mine.asReadOnlyBuffer()));
      assertMessage("32 bytes", () -> b.wrap(Shape.of(8), DType.F32, mine));
    }
  }

  @ParameterizedTest(allowZeroInvocations = true)
  @MethodSource(HOST)
  void foreignAddressesNeedTheAlignmentOfOneElement(String name) {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    ByteBuffer mine = ByteBuffer.allocateDirect(64).order(ByteOrder.nativeOrder());
    long address = NativeLibrary.address(mine);
    try (Backend b = Backends.open(name)) {
      Tensor t = b.wrap(Shape.of(3), DType.F32, address + 4, mine);
      assertEquals(address + 4, t.address());
      t.copyFrom(1f, 2f, 3f);
      assertEquals(3, mine.getFloat(12));
      assertMessage("not aligned", () -> b.wrap(Shape.of(1), DType.F32, address + 2, mine));
      assertMessage("0x0", () -> b.wrap(Shape.of(1), DType.F32, 0, mine));
      Tensor own = b.empty(Shape.of(1), DType.F32);
      assertEquals(0, own.address() % 64);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void aScopeGivesTheSameAddressesAgain(String name) {
    try (Backend b = Backends.open(name);
        Scope scope = b.scope()) {
      Tensor first = scope.of(Shape.of(3), 1, 2, 3);
      Tensor second = scope.of(Shape.of(700_000), new float[700_000]);
      Tensor third = scope.of(Shape.of(1), 5);
      long offset = first.byteOffset();
      long bytes = b.memory().bytesInUse();
      assertEquals(0, third.byteOffset() % 64);
      assertArrayEquals(new float[] {1, 2, 3}, first.toFloats());
      Tensor kept = first.moveTo(b);
      long withKept = b.memory().bytesInUse();
      scope.reset();
      assertThrows(IllegalStateException.class, second::toFloats);
      Tensor again = scope.empty(Shape.of(3), DType.F32);
      assertEquals(offset, again.byteOffset());
      assertEquals(first.storage(), again.storage());
      scope.empty(Shape.of(700_000), DType.F32);
      assertEquals(withKept, b.memory().bytesInUse());
      assertEquals(bytes + 12, withKept);
      scope.close();
      assertThrows(IllegalStateException.class, again::toFloats);
      assertThrows(IllegalStateException.class, () -> scope.empty(Shape.of(1), DType.F32));
      assertArrayEquals(new float[] {1, 2, 3}, kept.toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void memoryIsAccountedAndFreedByTheBackend(String name) {
    Backend b = Backends.open(name);
    assertMemory(b, 0, 0, 0);
    Tensor t = b.empty(Shape.of(10), DType.F64);
    b.empty(Shape.of(5), DType.U8);
    assertMemory(b, 85, 85, 2);
    t.close();
    assertMemory(b, 5, 85, 1);
    b.close();
    b.close();
    assertEquals(0, b.memory().allocations());
    assertThrows(IllegalStateException.class, () -> b.empty(Shape.of(1), DType.F32));
    assertThrows(IllegalStateException.class, b::synchronize);
  }

  private static void assertMemory(Backend b, long inUse, long peak, long allocations) {
    MemoryReport m = b.memory();
    assertEquals(new MemoryReport(inUse, peak, allocations, m.heldBytes(), m.cachedBytes()), m);
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void forgottenTensorsAreFreedInTheEnd(String name) throws InterruptedException {
    try (Backend b = Backends.open(name)) {
      for (int i = 0; i < 8; i++) {
        b.empty(Shape.of(1000), DType.F32);
      }
      for (int tries = 0; b.memory().allocations() > 0 && tries < 200; tries++) {
        System.gc();
        Thread.sleep(10);
      }
      assertEquals(0, b.memory().allocations());
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void scalarsLiveInTensorMemory(String name) {
    try (Backend b = Backends.open(name);
        Scalar s = b.scalar(0.1)) {
      assertEquals(0.1, s.get());
      s.set(1e-300);
      assertEquals(1e-300, s.tensor().toDoubles()[0]);
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void tensorsOfAnotherBackendAreRefused(String name) {
    try (Backend b = Backends.open(name);
        Backend stranger = Backends.open(name)) {
      assertNotEquals(b, stranger);
      Shape s = Shape.nc(4, 2);
      Tensor x = b.zeros(s, DType.F32);
      Tensor y = stranger.zeros(s, DType.F32);
      Saved saved = Saved.empty(b, s, DType.F32, false);
      assertMessage(
          "move it there",
          () -> b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, saved, y));
    }
  }

  private static void assertMessage(String part, Runnable r) {
    String text = assertThrows(IllegalArgumentException.class, r::run).getMessage();
    assertTrue(text.contains(part), text);
  }

  @Test
  void hostBackendsHaveNoStreamsToJoin() {
    for (String name : List.of("cpu", "reference")) {
      String text =
          assertThrows(BackendException.class, () -> Backends.onStream(name, 0)).getMessage();
      assertEquals("the " + name + " backend has no streams: open it without one", text);
    }
  }
}
