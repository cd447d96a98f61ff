package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.List;
import java.util.stream.Stream;
import jcuda.driver.CUresult;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.BackendException;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.CudaPlan.Operation;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Run by {@link CudaPlansTest}: what a plan tells is what is launched, and a kernel that a GPU has
 * not, or whose clusters it refuses, costs no call.
 */
class EnginePlans {
  /** A channel of 96 KiB forward, which takes a cluster of two, and of four backward. */
  private static final Shape CLUSTERED = Shape.ncl(2, 2, 12 << 10);

  @AfterEach
  void noMoreFailures() {
    Emulator.failCall(0, 0);
  }

  private static Stream<Shape> shapes() {
    return Stream.of(
        Shape.ncl(3, 4, 16),
        Shape.ncl(3, 4, 12),
        Shape.ncl(3, 4, 7),
        Shape.nc(40, 16),
        Shape.nc(40, 13),
        CLUSTERED);
  }

  /** An operation with all that it needs. */
  private static final class Verbs implements AutoCloseable {
    final Backend b = Backends.open("cuda");
    final Tensor x;
    final Tensor y;
    final Tensor dx;
    final Tensor residual;
    final Saved plain;
    final Saved gated;
    final Sums sums;
    final Running running;

    Verbs(Shape s, DType t) {
      float[] values = new float[(int) s.elements()];
      for (int i = 0; i < values.length; i++) {
        values[i] = (i * 37 % 101) / 64f - 0.75f;
      }
      x = b.empty(s, t).copyFrom(values);
      residual = b.empty(s, t).copyFrom(values);
      y = b.empty(s, t);
      dx = b.empty(s, t);
      plain = Saved.empty(b, s, t, false);
      gated = Saved.empty(b, s, t, true);
      sums = Sums.empty(b, s.channels());
      Shape c = Shape.of(s.channels());
      running =
          new Running(
              b.zeros(c, DType.F64),
              b.zeros(c, DType.F64),
              b.zeros(Shape.of(1), DType.I64),
              null,
              true);
    }

    void run(Operation o) {
      Activation f = o.toString().contains("relu") ? Activation.RELU : Activation.NONE;
      Saved saved = o.gate ? gated : plain;
      Tensor r = o.gate ? residual : null;
      switch (o) {
        case FORWARD, FORWARD_RELU, FORWARD_ADD_RELU ->
            b.norm().forward(x, Affine.NONE, 1e-5, f, r, saved, y);
        case INFER -> b.norm().infer(x, running, Affine.NONE, 1e-5, f, null, y);
        default -> b.norm().backward(x, x, saved, f, sums, dx, o.gate ? y : null);
      }
    }

    long launches(Operation o) {
      b.synchronize();
      long before = Emulator.count(Count.LAUNCHES);
      run(o);
      b.synchronize();
      return Emulator.count(Count.LAUNCHES) - before;
    }

    @Override
    public void close() {
      b.close();
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void asManyLaunchesAsThePlanTells(Shape s) throws IOException {
    CudaImage image = CudaImage.load().orElseThrow();
    GpuModel gpu = GpuModel.of(CudaDriver.status().devices().get(0));
    for (DType t : List.of(DType.F32, DType.BF16, DType.F64)) {
      try (Verbs v = new Verbs(s, t)) {
        for (Operation o : Operation.values()) {
          CudaPlan plan = CudaPlan.of(o, s, t, 16, gpu, image, null);
          assertEquals(
              plan.launches().size(), v.launches(o), () -> s + " " + t + " " + plan.launches());
        }
      }
    }
  }

  @Test
  void thePlanHasClusters() throws IOException {
    CudaPlan plan =
        CudaPlan.of(
            Operation.FORWARD,
            CLUSTERED,
            DType.F32,
            16,
            GpuModel.of(CudaDriver.status().devices().get(0)),
            CudaImage.load().orElseThrow(),
            null);
    assertEquals(1, plan.launches().size());
    assertEquals("rr_forward_f32_c2", plan.launches().get(0).kernel());
    assertEquals(2, plan.launches().get(0).cluster());
  }

  /** What a backward needs; a forward is the engine's first. */
  private static void before(Verbs v, Operation o) {
    if (o.direction == NormPlan.Direction.BACKWARD) {
      v.run(Operation.FORWARD_RELU);
    }
  }

  private static float[] result(Verbs v, Operation o) {
    v.run(o);
    return (o.direction == NormPlan.Direction.FORWARD ? v.y : v.dx).toFloats();
  }

  /** A verb's calls are: context, entry, launch, context. Of others the failure would be thrown. */
  @ParameterizedTest
  @ValueSource(ints = {CUresult.CUDA_ERROR_NOT_FOUND, CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE})
  void theOtherKernelsTakeOver(int code) {
    othersTakeOver(CLUSTERED, code);
  }

  /** The same of teams, which a GPU has no reason to refuse. */
  @ParameterizedTest
  @ValueSource(ints = {CUresult.CUDA_ERROR_NOT_FOUND, CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE})
  void othersTakeOverFromTeams(int code) {
    System.setProperty("fusednorm.cuda.single-pass", "cg_grid");
    try {
      othersTakeOver(Shape.nc(40, 16), code);
    } finally {
      System.clearProperty("fusednorm.cuda.single-pass");
    }
  }

  private static void othersTakeOver(Shape s, int code) {
    int call = code == CUresult.CUDA_ERROR_NOT_FOUND ? 2 : 3;
    for (Operation o : List.of(Operation.FORWARD_RELU, Operation.BACKWARD_RELU)) {
      float[] expected;
      try (Verbs right = new Verbs(s, DType.F32)) {
        before(right, o);
        expected = result(right, o);
      }
      try (Verbs v = new Verbs(s, DType.F32)) {
        before(v, o);
        v.b.synchronize();
        Emulator.failCall(call, code);
        v.run(o);
        Emulator.failCall(0, 0);
        float[] first = (o == Operation.FORWARD_RELU ? v.y : v.dx).toFloats();
        assertArrayEquals(expected, first, 4e-6f);
        assertArrayEquals(first, result(v, o));
      }
    }
  }

  @Test
  void aRefusedClusterIsNotTriedAgain() {
    // Whatever fails there, no kernel may be launched twice or not at all.
    try (Verbs v = new Verbs(CLUSTERED, DType.F32)) {
      v.b.synchronize();
      Emulator.failCall(3, CUresult.CUDA_ERROR_INVALID_CLUSTER_SIZE); // context, entry, launch
      v.run(Operation.FORWARD);
      v.b.synchronize();
      Emulator.failCall(0, 0);
      assertEquals(1, v.launches(Operation.FORWARD));
      long before = Emulator.count(Count.CALLS);
      v.run(Operation.FORWARD);
      assertTrue(Emulator.count(Count.CALLS) - before <= 3, "context, launch, context");
      v.b.synchronize();
    }
  }

  /** Blocks of a team wait for each other: two launches of them could hold each other up. */
  @ParameterizedTest
  @CsvSource({"sg, rr_forward_f32_small, 2, 1024", "cg, cols_forward_f32_c1, 40, 1"})
  void oneEngineHasTeams(String family, String other, long outer, long inner) {
    System.setProperty("fusednorm.cuda.single-pass", family + "_grid");
    try {
      Shape s = Shape.ncl(outer, 4, inner);
      String teams = family + "_forward_f32_grid";
      try (Verbs first = new Verbs(s, DType.F32)) {
        assertEquals(teams, forwardOf(first));
        try (Verbs second = new Verbs(s, DType.F32)) {
          assertEquals(other, forwardOf(second));
        }
      }
      try (Verbs third = new Verbs(s, DType.F32)) {
        assertEquals(teams, forwardOf(third));
      }
    } finally {
      System.clearProperty("fusednorm.cuda.single-pass");
    }
  }

  /** The kernel of a forward, by the text of its failure; its calls as above. */
  private static String forwardOf(Verbs v) {
    v.b.synchronize();
    Emulator.failCall(3, CUresult.CUDA_ERROR_UNKNOWN);
    String text = assertThrows(BackendException.class, () -> v.run(Operation.FORWARD)).getMessage();
    Emulator.failCall(0, 0);
    return text.substring(text.indexOf('(') + 1, text.indexOf(','));
  }

  @Test
  void anotherFailureOfALaunchIsTold() {
    try (Verbs v = new Verbs(CLUSTERED, DType.F32)) {
      v.b.synchronize();
      Emulator.failCall(3, CUresult.CUDA_ERROR_UNKNOWN);
      BackendException e = assertThrows(BackendException.class, () -> v.run(Operation.FORWARD));
      assertTrue(
          e.getMessage().startsWith("cuLaunchKernel(rr_forward_f32_c2, 4 blocks of 512 threads"),
          e.getMessage());
    }
  }
}
