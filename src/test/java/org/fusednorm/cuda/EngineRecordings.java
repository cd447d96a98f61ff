package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jcuda.driver.CUresult;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Recording;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.Test;

/** Run by {@link CudaEngineTest}. */
class EngineRecordings {
  @Test
  void isOneGraphThatIsFreedWithIt() {
    assumeFalse(Emulator.onDevice(), "counts what lives in the emulator");
    try (Backend b = EngineMemory.open()) {
      Tensor x = b.of(Shape.of(2), 1, 2);
      Tensor y = b.of(Shape.of(2), 3, 4);
      Tensor z = b.of(Shape.of(2), 0, 0);
      Recording r =
          b.record(
              () -> {
                z.copyFrom(y);
                y.copyFrom(x);
                x.copyFrom(z);
              });
      assertArrayEquals(new float[] {3, 4}, x.toFloats());
      assertEquals(1, Emulator.count(Count.EXECUTABLES));
      assertEquals(0, Emulator.count(Count.GRAPHS));
      long calls = Emulator.count(Count.CALLS);
      r.replay();
      assertEquals(3, Emulator.count(Count.CALLS) - calls, "bind, launch, unbind");
      assertArrayEquals(new float[] {1, 2}, x.toFloats());
      r.replay(new long[3]);
      assertArrayEquals(new float[] {3, 4}, x.toFloats());
      r.close();
      assertEquals(0, Emulator.count(Count.EXECUTABLES));
    }
  }

  @Test
  void graphsAreSplitAtHostFunctions() {
    try (Backend b = EngineMemory.open()) {
      List<String> order = new ArrayList<>();
      Tensor x = b.of(Shape.of(1), 1);
      Recording r =
          b.record(
              () -> {
                b.host(() -> order.add("first"));
                x.fillZero();
                x.fillZero();
                b.host(() -> order.add("second"));
                x.fillZero();
              });
      if (!Emulator.onDevice()) {
        assertEquals(2, Emulator.count(Count.EXECUTABLES));
      }
      r.replay();
      b.synchronize();
      assertEquals(List.of("first", "second", "first", "second"), order);
      assertEquals(List.of("host", "zero", "zero", "host", "zero"), r.launches());
    }
  }

  @Test
  void failureOfAHostFunctionShowsAtTheNextWait() {
    try (Backend b = EngineMemory.open()) {
      Tensor x = b.of(Shape.of(1), 1);
      b.host(
          () -> {
            throw new IllegalStateException("planted");
          });
      BackendException e = assertThrows(BackendException.class, b::synchronize);
      assertTrue(e.getMessage().contains("planted"), e.getMessage());
      b.synchronize();
      b.host(x::toFloats);
      e = assertThrows(BackendException.class, x::toFloats);
      assertTrue(e.getMessage().contains("may not use a backend"), e.getMessage());
      assertEquals(1, x.toFloats()[0]);
    }
  }

  @Test
  void openRecordingsAreFreedWithTheBackend() {
    Backend b = EngineMemory.open();
    Tensor x = b.of(Shape.of(1), 1);
    b.record(x::fillZero);
    b.close();
    if (!Emulator.onDevice()) {
      assertEquals(0, Emulator.count(Count.EXECUTABLES));
      assertEquals(0, Emulator.count(Count.CONTEXTS));
    }
  }

  /** A label that cannot be is told at the wait after the replay that met it, and not again. */
  @Test
  void complaintsOfReplaysShowAtTheNextWait() {
    try (Backend b = EngineMemory.open()) {
      Tensor logits = b.of(Shape.of(2, 3), 1, 2, 3, 4, 5, 6);
      Tensor labels = b.empty(Shape.of(2), DType.I64).copyFrom(0L, 2L);
      Tensor count = b.zeros(Shape.of(1), DType.I64);
      Recording r = b.record(() -> b.math().correct(logits, labels, count, Write.ADD));
      b.synchronize();
      for (int i = 0; i < 2; i++) {
        labels.copyFrom(0L, 3L);
        r.replay();
        labels.copyFrom(0L, 2L);
        IllegalArgumentException e =
            assertThrows(IllegalArgumentException.class, i == 0 ? b::synchronize : count::toLongs);
        assertEquals("label 3 in row 1 is not in 0..2", e.getMessage());
        r.replay();
        b.synchronize();
      }
      count.fillZero();
      r.replay();
      assertEquals(1, count.toLongs()[0]);
    }
  }

  /** Work of any size in a capture, on a workspace that later work outgrows. */
  @Test
  void recordingsKeepTheWorkspaceThatTheyUsed() {
    try (Backend b = EngineMemory.open()) {
      Tensor small = ones(b, 20_000);
      Tensor large = ones(b, 4_000_000);
      Tensor sum = b.empty(Shape.of(1), DType.F64);
      Tensor sums = b.empty(Shape.of(64), DType.F32);
      Recording r = b.record(() -> b.math().squaredNorm(small, sum, Write.SET));
      b.math().biasGradient(large.as(Shape.of(62_500, 64)), sums, Write.SET);
      b.math().squaredNorm(large, sum, Write.SET);
      assertEquals(4_000_000, sum.toDoubles()[0]);
      assertEquals(62_500, sums.toFloats()[63]);
      r.replay();
      assertEquals(20_000, sum.toDoubles()[0]);
    }
  }

  /** A rate that changes between replays; parameters with nothing take no room. */
  @Test
  void descentOfManyIsOneLaunch() {
    try (Backend b = EngineMemory.open();
        Scalar rate = b.scalar(0)) {
      int[][] launches = {{0, 0}, {1, 1}, {CudaDescent.MOST, 1}, {CudaDescent.MOST + 1, 2}};
      for (int[] of : launches) {
        List<Parameter> all = new ArrayList<>();
        for (int i = 0; i < of[0]; i++) {
          all.add(new Parameter("nothing", ones(b, 0), ones(b, 0)));
          all.add(new Parameter("p" + i, ones(b, 1 + i), ones(b, 1 + i)));
        }
        if (of[0] == 0) {
          all.add(new Parameter("nothing", ones(b, 0), ones(b, 0)));
        }
        rate.set(0.5);
        Recording r = b.record(() -> b.math().sgd(all, null, rate, null, null));
        rate.set(0.125);
        b.synchronize();
        long before = Emulator.onDevice() ? 0 : Emulator.count(Count.LAUNCHES);
        r.replay();
        b.synchronize();
        long after = Emulator.onDevice() ? of[1] : Emulator.count(Count.LAUNCHES);
        assertEquals(of[1], after - before, of[0] + " parameters");
        for (Parameter p : all) {
          float[] expected = new float[(int) p.value().shape().elements()];
          Arrays.fill(expected, 0.375f);
          assertArrayEquals(expected, p.value().toFloats(), p.name());
        }
        r.close();
      }
    }
  }

  /** By elements, one at least: as many as run at a time where there is work for all of them. */
  @Test
  void blocksOfADescentAreSpreadOverItsParameters() {
    assumeFalse(Emulator.onDevice(), "lets a launch fail, whose text has its blocks");
    try (Backend b = EngineMemory.open();
        Scalar rate = b.scalar(0)) {
      int[][] sizes = {{7}, {1024, 1025}, {7, 1, 300, 2_100}, {7, 100_000, 1, 300, 2_100}};
      int[] blocks = {1, 3, 6, 32};
      for (int i = 0; i < sizes.length; i++) {
        List<Parameter> all =
            Arrays.stream(sizes[i])
                .mapToObj(n -> new Parameter("p", ones(b, n), ones(b, n)))
                .toList();
        b.synchronize();
        Emulator.failCall(2, CUresult.CUDA_ERROR_INVALID_VALUE);
        BackendException e =
            assertThrows(BackendException.class, () -> b.math().sgd(all, null, rate, null, null));
        assertTrue(e.getMessage().contains("(sgd, " + blocks[i] + " blocks"), e.getMessage());
      }
    } finally {
      Emulator.failCall(0, 0);
    }
  }

  private static Tensor ones(Backend b, int n) {
    float[] v = new float[n];
    Arrays.fill(v, 1);
    return b.of(Shape.of(n), v);
  }
}
