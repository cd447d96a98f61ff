package org.fusednorm;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.fusednorm.testing.Values;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class RecordingTest {
  private static final String EACH = "org.fusednorm.testing.EachBackend#names";
  private static final Shape SHAPE = Shape.nchw(3, 4, 5, 2);

  @ParameterizedTest
  @MethodSource(EACH)
  void replaysGiveTheBitsOfTheEagerSteps(String name) {
    try (Backend b = Backends.open(name)) {
      float[][] eager = run(b, false);
      float[][] replayed = run(b, true);
      for (int i = 0; i < eager.length; i++) {
        assertArrayEquals(eager[i], replayed[i], "output " + i);
      }
    }
  }

  /** Three training steps on three batches; returns what they leave. */
  private static float[][] run(Backend b, boolean record) {
    try (Scope m = b.scope();
        BatchNorm bn = BatchNorm.builder(m, 4).activation(Activation.RELU).build()) {
      Tensor x = m.empty(SHAPE, DType.F32);
      Tensor y = m.empty(SHAPE, DType.F32);
      Tensor dy = m.empty(SHAPE, DType.F32);
      Pass pass = bn.pass(m, SHAPE, DType.F32);
      Scalar rate = m.scalar(0);
      Runnable step =
          () -> {
            bn.forward(pass, x, y);
            bn.backward(pass, dy, dy, Write.ADD);
            b.math().sgd(bn.affine().gamma(), bn.gradients().gamma(), null, rate, null, null);
          };
      Recording recording = null;
      for (int i = 0; i < 3; i++) {
        x.copyFrom(Values.normal(DType.F32, i, 120, 1, 2));
        dy.copyFrom(Values.normal(DType.F32, 9 + i, 120, 0, 1));
        rate.set(0.1 * (i + 1));
        if (recording != null) {
          recording.replay();
        } else if (record) {
          recording = b.record(step);
        } else {
          step.run();
        }
      }
      float[][] out = {
        y.toFloats(),
        dy.toFloats(),
        bn.affine().gamma().toFloats(),
        bn.running().mean().toFloats(),
        bn.running().variance().toFloats(),
        bn.running().count().toFloats()
      };
      assertEquals(3, out[5][0]);
      if (recording != null) {
        assertEquals(
            List.of("norm.forward", "norm.commit", "norm.backward", "norm.gradients", "sgd"),
            recording.launches());
        recording.close();
      }
      return out;
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void timedReplaysDoTheSameWork(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor x = b.of(Shape.of(1, 2), 1, 2);
      Tensor bias = b.of(Shape.of(2), 10, 20);
      try (Recording r = b.record(() -> b.math().addBias(x, bias, x))) {
        long[] nanos = new long[1];
        r.replay(nanos);
        assertArrayEquals(new float[] {21, 42}, x.toFloats());
        assertTrue(nanos[0] > 0);
        assertThrows(IllegalArgumentException.class, () -> r.replay(new long[2]));
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void theHostStaysOutside(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor x = b.of(Shape.of(1), 1);
      Scalar s = b.scalar(1);
      List<Runnable> forbidden =
          List.of(
              x::toFloats,
              () -> x.copyFrom(2f),
              () -> s.set(2),
              s::get,
              b::synchronize,
              () -> b.empty(Shape.of(1), DType.F32),
              () -> b.record(() -> {}));
      for (Runnable r : forbidden) {
        assertThrows(IllegalStateException.class, () -> b.record(r));
      }
      assertEquals(1, x.toFloats()[0], "and a failed recording leaves the backend usable");
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void hostFunctionsRunInOrderInEachReplay(String name) {
    try (Backend b = Backends.open(name)) {
      AtomicInteger calls = new AtomicInteger();
      try (Recording r = b.record(() -> b.host(calls::incrementAndGet))) {
        r.replay();
        r.replay();
        b.synchronize();
        assertEquals(3, calls.get());
      }
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void whatARecordingUsesCannotBeClosed(String name) {
    try (Backend b = Backends.open(name);
        Scope scope = b.scope()) {
      Tensor x = b.of(Shape.of(2, 1), 1, 2);
      Tensor bias = scope.of(Shape.of(1), 1);
      Tensor row = x.batch(0, 1);
      Recording r = b.record(() -> b.math().addBias(row, bias, row));
      String text = assertThrows(IllegalStateException.class, x::close).getMessage();
      assertTrue(text.contains("recording"), text);
      assertThrows(IllegalStateException.class, scope::reset);
      r.replay();
      r.close();
      r.close();
      assertArrayEquals(new float[] {3, 2}, x.toFloats());
      assertThrows(IllegalStateException.class, r::replay);
      x.close();
      scope.reset();
    }
  }

  @ParameterizedTest
  @MethodSource(EACH)
  void otherThreadsAreNotRecorded(String name) {
    try (Backend b = Backends.open(name)) {
      Tensor x = b.of(Shape.of(1, 1), 0);
      Tensor one = b.of(Shape.of(1), 1);
      Recording r =
          b.record(
              () -> {
                Thread t =
                    new Thread(
                        () -> {
                          b.math().addBias(x, one, x);
                          x.toFloats();
                        });
                t.start();
                try {
                  t.join();
                } catch (InterruptedException e) {
                  throw new AssertionError(e);
                }
              });
      assertEquals(List.of(), r.launches());
      assertEquals(1, x.toFloats()[0]);
      r.close();
    }
  }
}
