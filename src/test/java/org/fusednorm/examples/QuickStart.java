package org.fusednorm.examples;

import org.fusednorm.Activation;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Pass;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** The README's first example: forward, backward and inference of one layer. */
final class QuickStart {
  private QuickStart() {}

  static float[] run(float[] pixels, float[] upstream) {
    // README: quick start
    try (Backend backend = Backends.best();
        BatchNorm bn = BatchNorm.builder(backend, 64).activation(Activation.RELU).build()) {
      Shape shape = Shape.nchw(8, 64, 28, 28);
      Tensor x = backend.of(shape, pixels), y = backend.empty(shape, DType.F32);
      Tensor dy = backend.of(shape, upstream), dx = backend.empty(shape, DType.F32);
      Pass pass = bn.pass(backend, shape, DType.F32); // all memory of a step, taken once
      for (int step = 0; step < 100; step++) {
        bn.forward(pass, x, y); // y = relu(gamma xhat + beta); commits the running statistics
        bn.backward(pass, dy, dx, Write.SET); // dx, and the gradients of gamma and beta
      }
      bn.infer(x, y); // by the running statistics
      return y.toFloats(); // the only call that waits for the device
    }
    // README: end
  }
}
