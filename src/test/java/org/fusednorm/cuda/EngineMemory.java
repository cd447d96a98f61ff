package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import jcuda.driver.CUcontext;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Run by {@link CudaEngineTest} on a device of 64 MiB. */
class EngineMemory {
  private static final int MIB = 1 << 20;

  static Backend open() {
    return TestBackends.over(new CudaProvider().open(0));
  }

  static Tensor bytes(Backend b, long n) {
    return b.empty(Shape.of(n), DType.U8);
  }

  @AfterEach
  void nothingIsLeft() {
    if (!Emulator.onDevice()) {
      for (Count c : List.of(Count.values()).subList(4, Count.values().length)) {
        assertEquals(0, Emulator.count(c), c.name());
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 4096, MIB - 1, MIB, MIB + 1, 9 * MIB + 3})
  void copiesOfAnySizeComeBack(int n) {
    byte[] data = new byte[n];
    new Random(n).nextBytes(data);
    try (Backend b = open()) {
      Tensor x = bytes(b, n + 7);
      Tensor odd = x.batch(3, 3 + n);
      odd.copyFrom(ByteBuffer.wrap(data));
      Tensor y = bytes(b, n).copyFrom(odd);
      x.fillZero();
      for (ByteBuffer back : List.of(ByteBuffer.allocate(n), ByteBuffer.allocateDirect(n))) {
        y.copyTo(back);
        assertEquals(ByteBuffer.wrap(data), back);
      }
    }
  }

  /** More than the ring has events, and several times its size, with nothing waited for. */
  @Test
  void uploadsThatNobodyWaitsForKeepTheirValues() {
    try (Backend b = open()) {
      Random random = new Random(1);
      List<Tensor> tensors = new ArrayList<>();
      List<byte[]> sent = new ArrayList<>();
      for (int i = 0; i < 200; i++) {
        byte[] data = new byte[i % 20 == 0 ? MIB + i : 1 + random.nextInt(3000)];
        random.nextBytes(data);
        ByteBuffer source = ByteBuffer.allocateDirect(data.length).put(0, data);
        tensors.add(bytes(b, data.length).copyFrom(source));
        sent.add(data);
        source.put(0, new byte[data.length]); // it may be reused at once
      }
      for (int i = 0; i < 200; i++) {
        ByteBuffer back = ByteBuffer.allocate(sent.get(i).length);
        tensors.get(i).copyTo(back);
        assertArrayEquals(sent.get(i), back.array(), "upload " + i);
      }
    }
  }

  @Test
  void accountIsWhatTheDriverCounts() {
    try (Backend b = open()) {
      long own = b.memory().heldBytes();
      assertDriverCounts(b);
      Tensor x = bytes(b, 1000);
      Tensor y = bytes(b, 3 * MIB);
      assertEquals(own + 1024 + 3 * MIB, b.memory().heldBytes());
      assertEquals(1000 + 3 * MIB, b.memory().bytesInUse());
      assertDriverCounts(b);
      long address = y.address();
      x.close();
      y.close();
      assertEquals(1024 + 3 * MIB, b.memory().cachedBytes());
      assertEquals(1000 + 3 * MIB, b.memory().peakBytes());
      assertEquals(0, b.memory().bytesInUse());
      assertDriverCounts(b);
      assertEquals(address, bytes(b, 3 * MIB - 5).address(), "the cache serves the next");
      assertEquals(1024, b.memory().cachedBytes());
      assertDriverCounts(b);
    }
  }

  private static void assertDriverCounts(Backend b) {
    if (!Emulator.onDevice()) {
      assertEquals(Emulator.count(Count.BYTES), b.memory().heldBytes());
    }
  }

  @Test
  void fullDeviceGivesUpItsCacheFirst() {
    try (Backend b = open()) {
      Tensor kept = bytes(b, 10 * MIB).fillZero();
      for (int i = 0; i < 3; i++) {
        bytes(b, 40 * MIB).close();
        bytes(b, 30 * MIB).close();
      }
      Tensor large = bytes(b, 40 * MIB);
      BackendException e = assertThrows(BackendException.class, () -> bytes(b, 20 * MIB));
      assertTrue(e.getMessage().startsWith("cuMemAlloc(20971520 bytes): CUDA_ERROR_OUT_OF_MEMORY"));
      assertTrue(
          e.getMessage().matches(".* this backend uses 52\\d{6} bytes, of 67108864 .* are free"),
          e.getMessage());
      large.close();
      bytes(b, 20 * MIB).copyFrom(ByteBuffer.allocate(20 * MIB)).close();
      ByteBuffer back = ByteBuffer.allocate(10 * MIB);
      kept.copyTo(back);
      assertEquals(ByteBuffer.allocate(10 * MIB), back);
      assertDriverCounts(b);
    }
  }

  @Test
  void budgetIsKept() {
    System.setProperty("fusednorm.cuda.memory", "8m");
    try (Backend b = open()) {
      bytes(b, 5 * MIB).close();
      Tensor x = bytes(b, 7 * MIB);
      assertEquals(0, b.memory().cachedBytes());
      BackendException e = assertThrows(BackendException.class, () -> bytes(b, MIB));
      assertTrue(
          e.getMessage()
              .startsWith("allocation of 1048576 bytes: -Dfusednorm.cuda.memory allows 8388608"),
          e.getMessage());
      x.close();
      bytes(b, MIB);
    } finally {
      System.clearProperty("fusednorm.cuda.memory");
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"lots", "0", "-1g", "9999999999g", "g"})
  void malformedBudgetIsNamed(String given) {
    System.setProperty("fusednorm.cuda.memory", given);
    try {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> EngineMemory.open());
      assertTrue(e.getMessage().startsWith("-Dfusednorm.cuda.memory=" + given + " is no number"));
    } finally {
      System.clearProperty("fusednorm.cuda.memory");
    }
  }

  @Test
  void foreignMemoryIsWrappedWithTheAlignmentOfOneElement() {
    try (Backend b = open()) {
      Tensor owner = b.of(Shape.of(4), 1, 2, 3, 4);
      Tensor inside = b.wrap(Shape.of(2), DType.F32, owner.address() + 4, owner);
      assertArrayEquals(new float[] {2, 3}, inside.toFloats());
      inside.fillZero().close();
      assertArrayEquals(new float[] {1, 0, 0, 4}, owner.toFloats());
      long odd = owner.address() + 2;
      assertThrows(
          IllegalArgumentException.class, () -> b.wrap(Shape.of(1), DType.F32, odd, owner));
      b.wrap(Shape.of(1), DType.F16, odd, owner);
      assertThrows(
          BackendException.class,
          () -> b.wrap(Shape.of(4), DType.U8, ByteBuffer.allocateDirect(4)));
    }
  }

  @Test
  void joinsTheStreamOfSomebodyElse() {
    try (Backend keepsTheContext = open()) {
      CudaContext context = new CudaContext(0);
      context.enter();
      CUstream stream = new CUstream();
      Cuda.check(
          JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING), "stream");
      Backend b = TestBackends.over(new CudaProvider().openOnStream(0, Handles.get(stream)));
      Tensor x = b.of(Shape.of(2), 1, 2);
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "wait");
      Tensor seen = keepsTheContext.wrap(Shape.of(2), DType.F32, x.address(), x);
      assertArrayEquals(new float[] {1, 2}, seen.toFloats());
      b.close();
      Cuda.check(JCudaDriver.cuStreamSynchronize(stream), "it is not closed with the backend");
      Cuda.check(JCudaDriver.cuStreamDestroy(stream), "destroy");
      context.leave();
      context.release();
    }
  }

  @Test
  void anyThreadMayCall() throws InterruptedException {
    List<Throwable> failures = new ArrayList<>();
    try (Backend b = open()) {
      List<Thread> threads = new ArrayList<>();
      for (int t = 0; t < 8; t++) {
        int seed = t;
        Thread thread = new Thread(() -> copyAround(b, seed));
        thread.setUncaughtExceptionHandler(
            (who, e) -> {
              synchronized (failures) {
                failures.add(e);
              }
            });
        thread.start();
        threads.add(thread);
      }
      for (Thread t : threads) {
        t.join();
      }
      assertDriverCounts(b);
    }
    assertEquals(List.of(), failures);
  }

  private static void copyAround(Backend b, int seed) {
    Random random = new Random(seed);
    for (int i = 0; i < 40; i++) {
      byte[] data = new byte[1 + random.nextInt(i % 10 == 0 ? 2 * MIB : 5000)];
      random.nextBytes(data);
      try (Tensor x = bytes(b, data.length).copyFrom(ByteBuffer.wrap(data));
          Tensor y = bytes(b, data.length).fillZero()) {
        y.copyFrom(x);
        x.fillZero();
        ByteBuffer back = ByteBuffer.allocate(data.length);
        y.copyTo(back);
        assertArrayEquals(data, back.array());
      }
    }
    CUcontext current = new CUcontext();
    Cuda.check(JCudaDriver.cuCtxGetCurrent(current), "cuCtxGetCurrent");
    assertEquals(0, Handles.get(current), "a thread has its own context again");
  }

  @Test
  void leakIsNamedWithItsPlace() throws InterruptedException {
    List<LogRecord> logged = new ArrayList<>();
    Handler handler =
        new Handler() {
          @Override
          public synchronized void publish(LogRecord r) {
            logged.add(r);
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    Logger log = Logger.getLogger("org.fusednorm");
    log.setUseParentHandlers(false);
    log.addHandler(handler);
    try (Backend b = open()) {
      long own = b.memory().bytesInUse();
      lose(b);
      for (int i = 0; i < 200 && b.memory().bytesInUse() > own; i++) {
        System.gc();
        Thread.sleep(10);
      }
      assertEquals(own, b.memory().bytesInUse());
    } finally {
      log.removeHandler(handler);
      log.setUseParentHandlers(true);
    }
    LogRecord r = logged.get(0);
    assertTrue(r.getMessage().startsWith("4321 bytes on cuda:0 were never closed"), r::getMessage);
    assertTrue(
        List.of(r.getThrown().getStackTrace()).stream()
            .anyMatch(e -> e.getMethodName().equals("lose")));
  }

  private static void lose(Backend b) {
    bytes(b, 4321);
  }

  /** The driver tells of a kernel's failure when it likes, and then at every call. */
  @Test
  void failingKernelShowsAtTheNextWaitAndOnlyEndsThisBackend() {
    assumeFalse(Emulator.onDevice(), "a real device prints, and may take the process with it");
    Backend b = open();
    Tensor bias = b.of(Shape.of(1), 1);
    Tensor nowhere = b.wrap(Shape.of(1, 1), DType.F32, 0x10000, null);
    b.math().addBias(nowhere, bias, nowhere);
    BackendException e = assertThrows(BackendException.class, b::synchronize);
    assertTrue(
        e.getMessage()
            .matches(
                "cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS \\(700\\), add_bias: .*"
                    + "; the last launches were .*add_bias"),
        e.getMessage());
    e = assertThrows(BackendException.class, bias::toFloats);
    assertTrue(e.getMessage().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), e.getMessage());
    assertThrows(BackendException.class, () -> b.math().addBias(nowhere, bias, nowhere));
    assertThrows(BackendException.class, b::close);
    nothingIsLeft();
    try (Backend again = open()) {
      assertEquals(5, again.of(Shape.of(1), 5).toFloats()[0]);
    }
  }
}
