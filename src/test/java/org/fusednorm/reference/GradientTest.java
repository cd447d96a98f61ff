package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.DoubleSupplier;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Every gradient verb against finite differences of its forward. */
class GradientTest {
  private static final double EPS = 0.01;
  private static final double TOLERANCE = 2e-9;

  private final Backend b = Backends.open("reference");

  @AfterEach
  void close() {
    b.close();
  }

  static List<Arguments> normalizations() {
    List<Arguments> all = new ArrayList<>();
    for (Shape s : List.of(Shape.nc(6, 3), Shape.nchw(2, 2, 3, 2), Shape.nhwc(2, 3, 1, 3))) {
      for (Activation f : Activation.values()) {
        for (boolean residual : new boolean[] {false, true}) {
          for (boolean frozen : new boolean[] {false, true}) {
            all.add(Arguments.of(s, f, residual, frozen));
          }
        }
      }
    }
    return all;
  }

  @ParameterizedTest
  @MethodSource("normalizations")
  void normalization(Shape s, Activation f, boolean withResidual, boolean frozen) {
    long channels = s.channels();
    Tensor x = Data.random(b, s, 1);
    Tensor weights = Data.random(b, s, 2);
    Tensor residual = withResidual ? Data.random(b, s, 3) : null;
    Affine affine = Data.affine(b, channels, 4);
    double[] means = Data.values(channels, 6);
    double[] variances = Arrays.stream(means).map(v -> v * v + 0.5).toArray();
    Running running = Data.running(b, means, variances, null, true);
    Saved saved = Saved.empty(b, s, DType.F64, true);
    Tensor y = b.empty(s, DType.F64);
    Runnable forward =
        () -> {
          if (frozen) {
            b.norm().coefficients(running, affine, EPS, saved);
            b.norm().normalize(x, saved, f, residual, y);
          } else {
            b.norm().forward(x, affine, EPS, f, residual, saved, y);
          }
        };
    if (f == Activation.RELU) {
      assertFarFromKinks(x, affine, frozen, running, residual, saved, y);
    }
    forward.run();

    Sums sums = Sums.empty(b, channels);
    Tensor dx = b.empty(s, DType.F64);
    Tensor dResidual = withResidual ? b.empty(s, DType.F64) : null;
    b.norm().backward(weights, x, saved, f, sums, dx, dResidual);
    Shape parameter = Shape.of(channels);
    Affine gradients = new Affine(b.empty(parameter, DType.F64), b.empty(parameter, DType.F64));
    b.norm().gradients(sums, gradients, Write.SET);

    DoubleSupplier loss =
        () -> {
          forward.run();
          return Data.dot(weights, y);
        };
    assertArrayEquals(Data.numericGradient(x, loss), dx.toDoubles(), TOLERANCE, "dx");
    assertArrayEquals(
        Data.numericGradient(affine.gamma(), loss),
        gradients.gamma().toDoubles(),
        TOLERANCE,
        "dgamma");
    assertArrayEquals(
        Data.numericGradient(affine.beta(), loss), gradients.beta().toDoubles(), TOLERANCE, "db");
    if (withResidual) {
      assertArrayEquals(
          Data.numericGradient(residual, loss), dResidual.toDoubles(), TOLERANCE, "dresidual");
    }
  }

  /** Finite differences mean nothing where a step changes the sign of what ReLU sees. */
  private void assertFarFromKinks(
      Tensor x, Affine a, boolean frozen, Running r, Tensor residual, Saved saved, Tensor y) {
    if (frozen) {
      b.norm().coefficients(r, a, EPS, saved);
      b.norm().normalize(x, saved, Activation.NONE, residual, y);
    } else {
      b.norm().forward(x, a, EPS, Activation.NONE, residual, saved, y);
    }
    double closest = Arrays.stream(y.toDoubles()).map(Math::abs).min().orElseThrow();
    assertTrue(closest > 0.005, "too close to a kink: " + closest);
    long negative = Arrays.stream(y.toDoubles()).filter(v -> v < 0).count();
    assertTrue(negative > 2, "ReLU has nothing to do");
  }

  @ParameterizedTest
  @EnumSource(Nonlinearity.class)
  void activations(Nonlinearity f) {
    Shape s = Shape.of(4, 5);
    Tensor x = Data.random(b, s, 7);
    Tensor weights = Data.random(b, s, 8);
    Tensor y = b.empty(s, DType.F64);
    Tensor dx = b.empty(s, DType.F64);
    b.math().activate(f, x, y);
    b.math().activationGradient(f, y, weights, dx);
    double[] numeric =
        Data.numericGradient(
            x,
            () -> {
              b.math().activate(f, x, y);
              return Data.dot(weights, y);
            });
    assertArrayEquals(numeric, dx.toDoubles(), TOLERANCE);
  }

  @Test
  void softmaxCrossEntropy() {
    Shape s = Shape.of(4, 5);
    Tensor logits = Data.random(b, s, 9);
    Tensor labels = b.empty(Shape.of(4), DType.I64).copyFrom(4L, 0, 2, 2);
    Tensor loss = b.empty(Shape.of(1), DType.F64);
    Tensor dlogits = b.empty(s, DType.F64);
    b.math().softmaxCrossEntropy(logits, labels, loss, dlogits);
    double[] numeric =
        Data.numericGradient(
            logits,
            () -> {
              b.math().softmaxCrossEntropy(logits, labels, loss, null);
              return loss.toDoubles()[0];
            });
    assertArrayEquals(numeric, dlogits.toDoubles(), TOLERANCE);
  }

  @Test
  void denseLayer() {
    Tensor x = Data.random(b, Shape.of(4, 3), 10);
    Tensor w = Data.random(b, Shape.of(2, 3), 11);
    Tensor bias = Data.random(b, Shape.of(2), 12);
    Tensor dy = Data.random(b, Shape.of(4, 2), 13);
    Tensor y = b.empty(Shape.of(4, 2), DType.F64);
    DoubleSupplier loss =
        () -> {
          b.math().matmul(x, false, w, true, y, Write.SET);
          b.math().addBias(y, bias, y);
          return Data.dot(dy, y);
        };
    Tensor dx = b.empty(Shape.of(4, 3), DType.F64);
    Tensor dw = b.empty(Shape.of(2, 3), DType.F64);
    Tensor dbias = b.empty(Shape.of(2), DType.F64);
    b.math().matmul(dy, false, w, false, dx, Write.SET);
    b.math().matmul(dy, true, x, false, dw, Write.SET);
    b.math().biasGradient(dy, dbias, Write.SET);
    assertArrayEquals(Data.numericGradient(x, loss), dx.toDoubles(), TOLERANCE);
    assertArrayEquals(Data.numericGradient(w, loss), dw.toDoubles(), TOLERANCE);
    assertArrayEquals(Data.numericGradient(bias, loss), dbias.toDoubles(), TOLERANCE);
  }
}
