package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Recording;
import org.fusednorm.Scalar;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.Test;

/** Replays try all ways of being helped, and none changes a bit. */
class ReplaysTest {
  private static final int STEPS = 60;

  /** Gradient descent of weights that make one product of another. */
  private static double[] weights(int threads, boolean replayed) {
    try (Backend b = TestBackends.over(new CpuEngine(threads));
        Scope m = b.scope()) {
      Tensor x =
          Values.tensor(m, Shape.of(60, 300), DType.F32, Values.normal(DType.F32, 1, 18_000, 0, 1));
      Tensor w =
          Values.tensor(
              m, Shape.of(100, 300), DType.F32, Values.normal(DType.F32, 2, 30_000, 0, 0.1));
      Tensor y = m.zeros(Shape.of(60, 100), DType.F32);
      Tensor dw = m.zeros(Shape.of(100, 300), DType.F32);
      Scalar rate = m.scalar(0.01);
      Runnable step =
          () -> {
            b.math().matmul(x, false, w, true, y, Write.SET);
            b.math().activate(Nonlinearity.SIGMOID, y, y);
            b.math().matmul(y, true, x, false, dw, Write.SET);
            b.math().sgd(w, dw, null, rate, null, null);
          };
      if (!replayed) {
        for (int i = 0; i < STEPS; i++) {
          step.run();
        }
        return w.toDoubles();
      }
      try (Recording r = b.record(step)) {
        for (int i = 1; i < STEPS; i++) {
          r.replay();
        }
        return w.toDoubles();
      }
    }
  }

  @Test
  void bitsOfOneThread() {
    double[] expected = weights(1, false);
    assertArrayEquals(expected, weights(2, false));
    assertArrayEquals(expected, weights(1, true));
    assertArrayEquals(expected, weights(2, true));
    assertArrayEquals(expected, weights(3, true));
  }

  @Test
  void everyWayIsTried() {
    Workers workers = new Workers(2);
    Set<Long> seen = new HashSet<>();
    try (Replays r = new Replays(workers, List.of(() -> seen.add(workers.scratch().worthHelp)))) {
      for (int i = 0; i < STEPS; i++) {
        r.launch();
      }
      assertEquals(3, seen.size());
    } finally {
      workers.close();
    }
  }

  @Test
  void aFailureLeavesTheThreadAsItWas() {
    Workers workers = new Workers(2);
    try (Replays r =
        new Replays(
            workers,
            List.of(
                () -> {
                  throw new IllegalStateException("planted");
                }))) {
      for (int i = 0; i < STEPS; i++) {
        assertThrows(IllegalStateException.class, r::launch);
        assertEquals(Workers.LEAST_NANOS, workers.scratch().worthHelp);
      }
    } finally {
      workers.close();
    }
  }
}
