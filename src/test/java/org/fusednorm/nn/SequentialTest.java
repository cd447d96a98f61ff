package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Parameter;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Names, lifetimes, shared memory and refused arguments. */
class SequentialTest {
  private final Backend backend = Backends.open("reference");
  private final Init init = Init.xavierNormal(new Generator(1));

  @AfterEach
  void close() {
    backend.close();
  }

  @Test
  void namesArePyTorchs() {
    Sequential net = Nets.sigmoid(backend, DType.F32, true, 1, 4, 3, 2);
    assertEquals(
        List.of("dense1.weight", "norm1.weight", "norm1.bias", "dense2.weight", "dense2.bias"),
        net.parameters().stream().map(Parameter::name).toList());
    assertEquals(
        List.of(
            "dense1.weight",
            "norm1.weight",
            "norm1.bias",
            "norm1.running_mean",
            "norm1.running_var",
            "norm1.num_batches_tracked",
            "dense2.weight",
            "dense2.bias"),
        List.copyOf(net.state().keySet()));
    assertEquals(Shape.of(3, 4), net.state().get("dense1.weight").shape());
  }

  @Test
  void equalSeedsGiveEqualWeightsWithAndWithoutBatchNorm() {
    Sequential with = Nets.sigmoid(backend, DType.F32, true, 7, 9, 8, 8, 5);
    Sequential without = Nets.sigmoid(backend, DType.F32, false, 7, 9, 8, 8, 5);
    for (String name : List.of("dense1.weight", "dense2.weight", "dense3.weight")) {
      assertArrayEquals(
          with.state().get(name).toFloats(), without.state().get(name).toFloats(), name);
    }
    Sequential other = Nets.sigmoid(backend, DType.F32, true, 8, 9, 8, 8, 5);
    assertTrue(
        other.state().get("dense1.weight").toFloats()[0]
            != with.state().get("dense1.weight").toFloats()[0]);
  }

  @Test
  void denseMultipliesByTheTransposedWeight() {
    Dense dense = Dense.builder(backend, 2, 3, init).bias(Init.constant(0.5)).build();
    dense.state().get("weight").copyFrom(1f, 2, 3, 4, 5, 6);
    Bound bound = dense.bind(backend.of(Shape.nc(2, 2), 1, 10, -1, 2), Use.INFER, backend);
    bound.forward();
    assertArrayEquals(new float[] {21.5f, 43.5f, 65.5f, 3.5f, 5.5f, 7.5f}, bound.y().toFloats());
  }

  @Test
  void gradientsOfElementwiseLayersShareOneTensor() {
    Sequential net = Nets.sigmoid(backend, DType.F32, true, 1, 4, 3, 3, 2);
    Tensor x = backend.zeros(Shape.nc(5, 4), DType.F32);
    BoundSequential bound = net.bind(x, Use.TRAIN, backend);
    assertNull(bound.child("dense1").dx());
    assertNull(bound.dx());
    assertSame(bound.child("norm1").dx(), bound.child("sigmoid1").dx());
    assertSame(bound.child("norm1").dx(), bound.child("dense2").dx());
    assertTrue(bound.child("dense2").dx() != bound.child("dense3").dx());
  }

  @Test
  void incomingGradientStaysAsItWas() {
    Tensor x = backend.of(Shape.nc(3, 2), 1, 2, 3, 5, 8, 13);
    for (Layer last :
        List.of(
            Activate.tanh(),
            new Normalize(BatchNorm.builder(backend, 2)),
            Dense.builder(backend, 2, 2, init).build())) {
      Sequential net = Sequential.builder().add("first", Activate.sigmoid()).add("l", last).build();
      Tensor dx = backend.empty(x.shape(), DType.F32).fillZero();
      Tensor dy = backend.of(x.shape(), 1, -1, 2, 0, 3, 1);
      BoundSequential bound = net.bind(x, dx, Use.TRAIN, backend);
      bound.forward();
      bound.backward(dy, Write.SET);
      assertArrayEquals(new float[] {1, -1, 2, 0, 3, 1}, dy.toFloats(), last.toString());
      assertSame(dx, bound.dx());
      assertTrue(dx.toFloats()[0] != 0, last.toString());
    }
  }

  @Test
  void bindingLivesInTheGivenMemoryAndCloses() {
    Sequential net = Nets.sigmoid(backend, DType.F32, true, 1, 4, 3, 2);
    Tensor x = backend.zeros(Shape.nc(5, 4), DType.F32);
    long before = backend.memory().bytesInUse();
    BoundSequential bound = net.bind(x, Use.TRAIN, backend);
    assertTrue(backend.memory().bytesInUse() > before);
    bound.close();
    assertEquals(before, backend.memory().bytesInUse());
    try (Scope scope = backend.scope()) {
      BoundSequential temporary = net.bind(x, Use.INFER, scope);
      temporary.forward();
      scope.reset();
      assertThrows(IllegalStateException.class, temporary::forward);
    }
  }

  @Test
  void failedBindingKeepsNothing() {
    Sequential net =
        Sequential.builder()
            .add("dense1", Dense.builder(backend, 4, 3, init).build())
            .add("norm", new Normalize(BatchNorm.builder(backend, 3)))
            .add("dense2", Dense.builder(backend, 5, 2, init).build())
            .build();
    Tensor x = backend.zeros(Shape.nc(6, 4), DType.F32);
    long before = backend.memory().bytesInUse();
    refused(
        "dense2: Dense(5, 2) takes [batch, 5] F32, not [6, 3]",
        () -> net.bind(x, Use.TRAIN, backend));
    assertEquals(before, backend.memory().bytesInUse());
  }

  @Test
  void wrongUseIsRefused() {
    Sequential net = Nets.sigmoid(backend, DType.F32, true, 1, 4, 3, 2);
    Tensor x = backend.zeros(Shape.nc(5, 4), DType.F32);
    Memory m = backend;
    refused(
        "takes [batch, 4] F32, not [5, 3]",
        () -> net.bind(backend.zeros(Shape.nc(5, 3), DType.F32), Use.TRAIN, m));
    refused(
        "takes [batch, 4] F32, not [5, 4] NC F64",
        () -> net.bind(backend.zeros(Shape.nc(5, 4), DType.F64), Use.TRAIN, m));
    refused("no gradient", () -> net.bind(x, x, Use.INFER, m));
    refused(
        "must agree", () -> net.bind(x, backend.zeros(Shape.nc(4, 4), DType.F32), Use.TRAIN, m));
    refused("[dense1, norm1, sigmoid1, dense2]", () -> net.bind(x, Use.INFER, m).child("norm2"));
    refused("already", () -> Sequential.builder().add("a", Activate.tanh()).add("a", net));
    refused("\"a.b\"", () -> Sequential.builder().add("a.b", net));
    refused("at least one layer", () -> Sequential.builder().build());
    refused("not 0 and 3", () -> Dense.builder(m, 0, 3, init));
    refused(
        "labels [4] I64 on reference:0 do not fit",
        () -> SoftmaxCrossEntropy.bind(x, backend.zeros(Shape.of(4), DType.I64), m));
    refused(
        "momentum must be finite and not negative, not -0.5",
        () -> Sgd.builder(m, net.parameters()).momentum(-0.5));

    BoundSequential bound = net.bind(x, Use.TRAIN, m);
    Tensor dy = backend.zeros(Shape.nc(5, 2), DType.F32);
    impossible("call forward first", () -> bound.backward(dy, Write.SET));
    BoundSequential infer = net.bind(x, Use.INFER, m);
    infer.forward();
    impossible("bound for inference", () -> infer.backward(dy, Write.SET));
  }

  @Test
  void secondThreadIsDetected() throws InterruptedException {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch go = new CountDownLatch(1);
    Bound slow =
        new CheckedBound("slow", Use.TRAIN, null, backend.zeros(Shape.of(1), DType.F32)) {
          @Override
          void compute() {
            inside.countDown();
            try {
              go.await();
            } catch (InterruptedException e) {
              throw new IllegalStateException(e);
            }
          }

          @Override
          void differentiate(Tensor dy, Write w) {}
        };
    AtomicReference<Throwable> failure = new AtomicReference<>();
    Thread first = new Thread(slow::forward, "first");
    first.setUncaughtExceptionHandler((t, e) -> failure.set(e));
    first.start();
    inside.await();
    impossible("first is using it", slow::forward);
    go.countDown();
    first.join();
    assertNull(failure.get());
    slow.forward();
  }

  private static void refused(String text, Executable call) {
    String message = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertTrue(message.contains(text), message);
  }

  private static void impossible(String text, Executable call) {
    String message = assertThrows(IllegalStateException.class, call).getMessage();
    assertTrue(message.contains(text), message);
  }
}
