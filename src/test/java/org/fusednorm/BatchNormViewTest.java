package org.fusednorm;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A layer over other running statistics, and backward without a gradient of the input. */
class BatchNormViewTest {
  private final Backend backend = Backends.open("reference");

  @AfterEach
  void close() {
    backend.close();
  }

  @Test
  void viewCommitsToItsOwnStatisticsAndSharesTheRest() {
    BatchNorm norm = BatchNorm.builder(backend, 1).build();
    Running average = Running.cumulative(backend, 1, true);
    BatchNorm view = norm.withRunning(average);
    Shape shape = Shape.nc(2, 1);
    Tensor y = backend.empty(shape, DType.F32);

    Pass pass = view.pass(backend, shape, DType.F32);
    view.forward(pass, backend.of(shape, 1, 3), y);
    view.forward(pass, backend.of(shape, 4, 8), y);

    assertArrayEquals(new double[] {4}, average.mean().toDoubles()); // (2 + 6) / 2
    assertArrayEquals(new double[] {5}, average.variance().toDoubles()); // (2 + 8) / 2, unbiased
    assertArrayEquals(new long[] {2}, average.count().toLongs());
    assertArrayEquals(new double[] {0}, norm.running().mean().toDoubles());
    assertArrayEquals(new double[] {1}, norm.running().variance().toDoubles());
    assertArrayEquals(new long[] {0}, norm.running().count().toLongs());

    norm.affine().beta().copyFrom(7f);
    view.infer(backend.of(shape, 4, 4), y);
    assertArrayEquals(new float[] {7, 7}, y.toFloats());

    view.close();
    norm.infer(backend.of(shape, 0, 0), y);
    assertArrayEquals(new float[] {7, 7}, y.toFloats());
    assertTrue(average.mean().isOpen());
  }

  @Test
  void viewRefusesStatisticsOfOtherChannels() {
    BatchNorm norm = BatchNorm.builder(backend, 3).build();
    Running two = Running.cumulative(backend, 2, true);
    assertThrows(IllegalArgumentException.class, () -> norm.withRunning(two));
  }

  @Test
  void backwardWithoutInputGradientMakesTheSameParameterGradients() {
    Shape shape = Shape.nc(3, 2);
    Tensor x = backend.of(shape, 1, 2, 5, -1, 0, 3);
    Tensor dy = backend.of(shape, 1, 0, -2, 1, 4, 2);
    Tensor y = backend.empty(shape, DType.F32);
    BatchNorm norm = BatchNorm.builder(backend, 2).activation(Activation.RELU).build();
    Pass pass = norm.forward(x, y);

    norm.backward(pass, dy, backend.empty(shape, DType.F32), Write.SET);
    float[] gamma = norm.gradients().gamma().toFloats();
    float[] beta = norm.gradients().beta().toFloats();
    norm.gradients().gamma().fillZero();
    norm.gradients().beta().fillZero();
    norm.backward(pass, dy, null, Write.SET);

    assertTrue(gamma[0] != 0 && beta[1] != 0);
    assertArrayEquals(gamma, norm.gradients().gamma().toFloats());
    assertArrayEquals(beta, norm.gradients().beta().toFloats());
    assertThrows(
        IllegalArgumentException.class,
        () -> norm.backward(pass, pass.generation(), dy, null, dy, Write.SET));
  }

  @Test
  void numberOfBatchesIsAScalarAsInPyTorch() {
    BatchNorm norm = BatchNorm.builder(backend, 3).build();
    assertEquals(Shape.of(), norm.state(Profile.PYTORCH).get("num_batches_tracked").shape());
  }
}
