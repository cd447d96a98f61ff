package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;
import org.fusednorm.Activation;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Pass;
import org.fusednorm.Profile;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.Test;

/** Small cases computed by hand. */
class ReferenceNormTest {
  /** Channel 0 is 1, 3, 5, 7: mean 4, variance 5; channel 1 is 2, 2, 2, 2. */
  @Test
  void layerByHand() {
    try (Backend b = Backends.open("reference");
        BatchNorm bn = BatchNorm.builder(b, 2).eps(4).activation(Activation.RELU).build()) {
      assertEquals("reference:0", b.device().toString());
      bn.affine().gamma().copyFrom(3, 5);
      bn.affine().beta().copyFrom(1, -1);
      Shape s = Shape.ncl(2, 2, 2);
      Tensor x = b.of(s, 1, 3, 2, 2, 5, 7, 2, 2);
      Tensor y = b.empty(s, DType.F32);
      Tensor dx = b.empty(s, DType.F32);
      Tensor dy = b.of(s, 1, 2, 3, 4, 5, 6, 7, 8);
      try (Pass p = bn.forward(x, y)) {
        // invstd = 1/3, xhat = -1, -1/3, 1/3, 1
        assertArrayEquals(new float[] {0, 0, 0, 0, 2, 4, 0, 0}, y.toFloats(), 1e-6f);
        bn.backward(p, dy, dx, Write.SET);
        // gated dy 0, 0, 5, 6: sum 11, sum dy xhat 23/3; dx = g - 11/4 - xhat 23/12
        float[] expected = {-10 / 12f, -76 / 36f, 0, 0, 58 / 36f, 16 / 12f, 0, 0};
        assertArrayEquals(expected, dx.toFloats(), 1e-6f);
      }
      // 0.9 old + 0.1 batch, the variance unbiased: 5 * 4 / 3
      Map<String, Tensor> state = bn.state(Profile.PYTORCH);
      assertArrayEquals(new double[] {0.4, 0.2}, state.get("running_mean").toDoubles(), 1e-15);
      assertArrayEquals(
          new double[] {0.9 + 2.0 / 3, 0.9}, state.get("running_var").toDoubles(), 1e-15);
    }
  }
}
