package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import jcuda.driver.CUresult;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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

  @AfterEach
  void noMoreFailures() {
    Emulator.failCall(0, 0);
  }

  @ParameterizedTest
  @ValueSource(ints = {CUresult.CUDA_ERROR_UNKNOWN, CUresult.CUDA_ERROR_OUT_OF_MEMORY})
  void eachCallThatFailsIsNamedAndNothingIsLeft(int code) {
    String failure = CUresult.stringFor(code) + " (" + code + ")";
    Set<String> named = new HashSet<>();
    int retried = 0;
    for (int call = 1; ; call++) {
      Emulator.failCall(call, code);
      long before = Emulator.count(Count.CALLS);
      BackendException thrown = null;
      try {
        life();
      } catch (BackendException e) {
        thrown = e;
      }
      boolean made = Emulator.count(Count.CALLS) - before >= call;
      for (Count c : List.of(Count.values()).subList(4, Count.values().length)) {
        assertEquals(0, Emulator.count(c), c + " after call " + call + ": " + thrown);
      }
      if (!made) {
        assertEquals(null, thrown);
        break;
      }
      if (thrown == null && code == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
        retried++; // an allocation, which succeeded once the cache was given back
        continue;
      }
      assertTrue(thrown != null, "call " + call + " failed and nobody was told");
      String text = thrown.getMessage();
      assertTrue(text.contains(": " + failure), text);
      named.add(text.split("[(:]")[0]);
    }
    Set<String> missing = new HashSet<>(CALLS);
    missing.removeAll(named);
    assertEquals(Set.of(), missing);
    assertEquals(code == CUresult.CUDA_ERROR_OUT_OF_MEMORY ? 1 : 0, retried);
  }

  /** From opening to closing. */
  private static void life() {
    try (Backend b = EngineMemory.open()) {
      Tensor x = b.of(Shape.of(4), 1, 2, 3, 4);
      Tensor y = b.of(Shape.of(4), 5, 6, 7, 8);
      try (Recording r =
          b.record(
              () -> {
                y.copyFrom(x);
                b.host(() -> {});
                x.fillZero();
              })) {
        r.replay();
        b.synchronize();
      }
      assertEquals(0, y.toFloats()[3]);
      EngineMemory.bytes(b, 3 << 20).copyFrom(ByteBuffer.allocate(3 << 20)).close();
      EngineMemory.bytes(b, 1 << 20).copyTo(ByteBuffer.allocate(1 << 20));
    }
  }
}
