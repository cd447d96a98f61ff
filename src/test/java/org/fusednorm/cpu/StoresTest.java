package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Pass;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.host.Isa;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Results past the caches or through them: the same bits. */
class StoresTest {
  private static final long MB = 1 << 20;

  /** What is read next, and what is written in one pass, stays longer. */
  @Test
  void sizesDecide() {
    assertEquals(
        List.of(false, true, false, true),
        List.of(
            Stores.BY_SIZE.arePast(24 * MB, false),
            Stores.BY_SIZE.arePast(24 * MB + 1, false),
            Stores.BY_SIZE.arePast(40 * MB, true),
            Stores.BY_SIZE.arePast(40 * MB + 1, true)));
  }

  @ParameterizedTest
  @ValueSource(strings = {"nc", "nhwc", "small planes", "planes", "one channel"})
  void changeNoBit(String layout) {
    Shape s =
        switch (layout) {
          case "nc" -> Shape.nc(301, 1030);
          case "nhwc" -> Shape.nhwc(5, 13, 11, 24);
          case "small planes" -> Shape.nchw(6, 40, 7, 7);
          case "planes" -> Shape.nchw(5, 18, 47, 51);
          default -> Shape.nchw(2, 1, 400, 401);
        };
    for (Isa isa : InstructionSets.available()) {
      for (DType t : List.of(DType.F32, DType.BF16)) {
        List<double[]> through = step(isa, Stores.THROUGH_CACHES, s, t);
        List<double[]> past = step(isa, Stores.PAST_CACHES, s, t);
        for (int i = 0; i < past.size(); i++) {
          assertArrayEquals(
              through.get(i), past.get(i), "output " + i + " of " + s + " " + t + " " + isa);
        }
      }
    }
  }

  private static List<double[]> step(Isa isa, Stores stores, Shape s, DType t) {
    int n = (int) s.elements();
    try (Backend b = TestBackends.over(new CpuEngine(2, isa, stores));
        Scope m = b.scope()) {
      Tensor x = Values.tensor(m, s, t, Values.normal(t, 1, n, 3, 2));
      Tensor dy = Values.tensor(m, s, t, Values.normal(t, 2, n, 0, 1));
      Tensor residual = Values.tensor(m, s, t, Values.normal(t, 3, n, 0, 1));
      Tensor y = m.empty(s, t);
      Tensor z = m.empty(s, t);
      Tensor inferred = m.empty(s, t);
      Tensor dx = m.empty(s, t);
      Tensor dResidual = m.empty(s, t);
      Saved saved = Saved.empty(m, s, t, true);
      Saved plain = Saved.empty(m, s, t, false);
      Sums sums = Sums.empty(m, s.channels());
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.NONE, null, plain, z);
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, residual, saved, y);
      b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, dResidual);
      Running r = Running.moving(m, s.channels(), 0.1, true);
      b.norm().infer(x, r, Affine.NONE, 1e-5, Activation.RELU, null, inferred);
      List<double[]> out = new ArrayList<>();
      for (Tensor o : List.of(y, z, inferred, dx, dResidual, saved.gate(), sums.packed())) {
        out.add(o.dtype().isFloating() ? o.toDoubles() : asDoubles(o));
      }
      return out;
    }
  }

  private static double[] asDoubles(Tensor t) {
    long[] v = t.toLongs();
    double[] d = new double[v.length];
    for (int i = 0; i < d.length; i++) {
      d[i] = v[i];
    }
    return d;
  }

  /** A layer's result stays in the caches where that of the same verb alone goes past them. */
  @Test
  void layersAndVerbsAgree() {
    Shape s = Shape.nchw(32, 2100, 7, 7);
    int n = (int) s.elements();
    try (Backend b = TestBackends.over(new CpuEngine(2));
        BatchNorm layer = BatchNorm.builder(b, s.channels()).build();
        Scope m = b.scope()) {
      Tensor x = Values.tensor(m, s, DType.F32, Values.normal(DType.F32, 1, n, 3, 2));
      Tensor y = m.empty(s, DType.F32);
      Tensor z = m.empty(s, DType.F32);
      Saved saved = Saved.empty(m, s, DType.F32, false);
      try (Pass p = layer.forward(x, y)) {
        b.norm().forward(x, layer.affine(), layer.eps(), Activation.NONE, null, saved, z);
        assertArrayEquals(z.toFloats(), y.toFloats());
      }
    }
  }
}
