package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.junit.jupiter.api.Test;

/** Memory and copies of the engine, in a JVM on the emulator. */
class CudaEngineTest {
  @Test
  void copies() throws Exception {
    assertEquals(
        "[1.0, 2.0, 3.0] on cuda:0, then [0.0, 0.0, 0.0]\n",
        Emulator.run(Emulator.Build.CHECKED, Copies.class));
  }

  static final class Copies {
    public static void main(String[] args) {
      try (Backend b = TestBackends.over(new CudaProvider().open(0))) {
        Tensor x = b.of(Shape.of(3), 1, 2, 3);
        Tensor y = b.empty(Shape.of(3), DType.F32).copyFrom(x);
        x.fillZero();
        System.out.printf(
            "%s on %s, then %s%n",
            Arrays.toString(y.toFloats()), y.device(), Arrays.toString(x.toFloats()));
      }
    }
  }
}
