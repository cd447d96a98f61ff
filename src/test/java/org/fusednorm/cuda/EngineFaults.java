package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import jcuda.driver.CUresult;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.cuda.Emulator.Count;
import org.fusednorm.nn.Activate;
import org.fusednorm.nn.BoundSequential;
import org.fusednorm.nn.Dense;
import org.fusednorm.nn.Generator;
import org.fusednorm.nn.Init;
import org.fusednorm.nn.Normalize;
import org.fusednorm.nn.Sequential;
import org.fusednorm.nn.Sgd;
import org.fusednorm.nn.SoftmaxCrossEntropy;
import org.fusednorm.nn.Use;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Run by {@link CudaEngineTest}: the first, the second, ... call of the driver fails. */
class EngineFaults {
  /** What an engine's life needs at least; each of them is seen to fail. */
  private static final Set<String> CALLS =
      Set.of(
          "cuDevicePrimaryCtxRetain",
          "cuCtxPushCurrent",
          "cuCtxPopCurrent",
          "cuStreamCreate",
          "cuModuleLoadDataEx",
          "cuModuleGetFunction",
          "cuMemAllocHost",
          "cuMemAlloc",
          "cuMemsetD8Async",
          "cuMemcpyHtoDAsync",
          "cuMemcpyDtoDAsync",
          "cuMemcpyDtoHAsync",
          "cuEventCreate",
          "cuEventRecord",
          "cuEventSynchronize",
          "cuLaunchHostFunc",
          "cuStreamBeginCapture",
          "cuStreamEndCapture",
          "cuGraphInstantiate",
          "cuGraphDestroy",
          "cuGraphLaunch",
          "cuGraphExecDestroy",
          "cuStreamSynchronize",
          "cuEventDestroy",
          "cuMemFreeHost",
          "cuMemFree",
          "cuModuleUnload",
          "cuStreamDestroy",
          "cuDevicePrimaryCtxRelease");

  private static final String NONE = "none";
  private static final String END = "end";

  @AfterEach
  void noMoreFailures() {
    Emulator.failCall(0, 0);
  }

  /**
   * Each call fails once for an unknown reason and once for want of memory. The latter nobody is
   * told of in one case alone: an allocation that succeeds when the cache was given back.
   */
  @Test
  void eachCallThatFailsIsNamedAndNothingIsLeft() {
    Set<String> unknown = new HashSet<>();
    Set<String> memory = new HashSet<>();
    int retried = 0;
    for (int call = 1; ; call++) {
      String name = failing(call, CUresult.CUDA_ERROR_UNKNOWN);
      String again = failing(call, CUresult.CUDA_ERROR_OUT_OF_MEMORY);
      if (name.equals(END)) {
        assertEquals(END, again);
        break;
      }
      assertNotEquals(NONE, name, "call " + call + " failed and nobody was told");
      unknown.add(name);
      if (again.equals(NONE)) {
        assertEquals("cuMemAlloc", name, "call " + call + " failed and nobody was told");
        retried++;
      } else {
        assertEquals(name, again, "call " + call);
        memory.add(again);
      }
    }
    assertEquals(Set.of(), without(CALLS, unknown));
    // An allocation with nothing in the cache fails for good.
    assertEquals(Set.of(), without(CALLS, memory));
    assertTrue(retried > 0, "no allocation met a full cache");
  }

  private static Set<String> without(Set<String> all, Set<String> some) {
    Set<String> left = new HashSet<>(all);
    left.removeAll(some);
    return left;
  }

  /** A life in which this call fails: the call that the exception names, NONE, or END of calls. */
  private static String failing(int call, int code) {
    Emulator.failCall(call, code);
    long before = Emulator.count(Count.CALLS);
    BackendException thrown = null;
    try {
      life();
    } catch (BackendException e) {
      thrown = e;
    }
    final boolean made = Emulator.count(Count.CALLS) - before >= call;
    for (Count c : List.of(Count.values()).subList(4, Count.values().length)) {
      assertEquals(0, Emulator.count(c), c + " after call " + call + ": " + thrown);
    }
    if (thrown == null) {
      return made ? NONE : END;
    }
    String text = thrown.getMessage();
    assertTrue(made && text.contains(": " + CUresult.stringFor(code) + " (" + code + ")"), text);
    return text.split("[(:]")[0];
  }

  /** From opening to closing: a training step, first for real, then captured and replayed. */
  private static void life() {
    try (Backend b = Backends.open("cuda")) {
      Init small = Init.gaussian(0.1, new Generator(1));
      Sequential net =
          Sequential.builder()
              .add("dense1", Dense.builder(b, 3, 4, small).bias(false).build())
              .add("norm", new Normalize(BatchNorm.builder(b, 4)))
              .add("sigmoid", Activate.sigmoid())
              .add("dense2", Dense.builder(b, 4, 2, small).build())
              .build();
      Tensor x = b.zeros(Shape.nc(5, 3), DType.F32);
      Tensor labels = b.zeros(Shape.of(5), DType.I64);
      BoundSequential bound = net.bind(x, Use.TRAIN, b);
      SoftmaxCrossEntropy loss = SoftmaxCrossEntropy.bind(bound.y(), labels, b);
      Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.5).build();
      Runnable step =
          () -> {
            bound.forward();
            loss.forward();
            b.host(() -> {});
            bound.backward(loss.dlogits(), Write.SET);
            sgd.step();
          };
      step.run();
      try (Recording r = b.record(step)) {
        x.copyFrom(new float[15]);
        r.replay();
        b.synchronize();
      }
      assertEquals(0, x.toFloats()[3]);
      EngineMemory.bytes(b, 3 << 20).copyFrom(ByteBuffer.allocate(3 << 20)).close();
      EngineMemory.bytes(b, 1 << 20).copyFrom(EngineMemory.bytes(b, 1 << 20).fillZero());
    }
  }
}
