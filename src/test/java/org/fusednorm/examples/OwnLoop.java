package org.fusednorm.examples;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Pass;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** The README's second example: a loop of one's own, gradients of two passes, foreign memory. */
final class OwnLoop {
  private OwnLoop() {}

  static float[] run(ByteBuffer foreign, int steps) {
    // README: own loop
    try (Backend backend = Backends.open("cpu");
        BatchNorm bn = BatchNorm.builder(backend, 100).deferCommit(true).build();
        Scalar rate = backend.scalar(0.1)) {
      Shape half = Shape.nc(30, 100);
      // Memory of another library: used where it lies, kept alive, never freed by us.
      Tensor both =
          backend.wrap(Shape.nc(60, 100), DType.F32, foreign.order(ByteOrder.nativeOrder()));
      Pass[] passes = {bn.pass(backend, half, DType.F32), bn.pass(backend, half, DType.F32)};
      Tensor y = backend.empty(half, DType.F32);
      Tensor gradient = backend.empty(half, DType.F32);
      for (int step = 0; step < steps; step++) {
        for (int i = 0; i < 2; i++) {
          bn.forward(passes[i], both.batch(30 * i, 30 * (i + 1)), y);
          gradient.copyFrom(y); // of the loss |y|^2 / 2
          bn.backward(passes[i], gradient, gradient, i == 0 ? Write.SET : Write.ADD);
        }
        for (Parameter p : bn.parameters()) {
          backend.math().sgd(p.value(), p.gradient(), null, rate, null, null);
        }
        for (Pass pass : passes) {
          bn.commit(pass); // each half once, whatever was recomputed; or not at all for a bad batch
        }
      }
      return bn.affine().gamma().toFloats();
    }
    // README: end
  }
}
