package org.fusednorm.reference;

import java.util.SplittableRandom;
import java.util.function.DoubleSupplier;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Running;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/** Inputs and numeric gradients of these tests, in F64. */
final class Data {
  private Data() {}

  static Tensor f64(Memory m, Shape s, double... v) {
    return m.empty(s, DType.F64).copyFrom(v);
  }

  /** Uniform in -2..2. */
  static Tensor random(Memory m, Shape s, long seed) {
    return f64(m, s, values(s.elements(), seed));
  }

  static double[] values(long n, long seed) {
    return new SplittableRandom(seed).doubles(n, -2, 2).toArray();
  }

  static Affine affine(Memory m, long channels, long seed) {
    Shape s = Shape.of(channels);
    return new Affine(random(m, s, seed), random(m, s, seed + 1));
  }

  static Running running(Memory m, double[] mean, double[] variance, Scalar momentum, boolean u) {
    Shape s = Shape.of(mean.length);
    Tensor count = m.zeros(Shape.of(1), DType.I64);
    return new Running(f64(m, s, mean), f64(m, s, variance), count, momentum, u);
  }

  static double dot(Tensor a, Tensor b) {
    double[] left = a.toDoubles();
    double[] right = b.toDoubles();
    double sum = 0;
    for (int i = 0; i < left.length; i++) {
      sum += left[i] * right[i];
    }
    return sum;
  }

  /** The gradient of {@code loss} by every element of {@code t}, by a five-point stencil. */
  static double[] numericGradient(Tensor t, DoubleSupplier loss) {
    double h = 5e-4;
    double[] at = t.toDoubles();
    double[] gradient = new double[at.length];
    for (int i = 0; i < at.length; i++) {
      double[] values = new double[4];
      double[] steps = {-2 * h, -h, h, 2 * h};
      for (int k = 0; k < 4; k++) {
        double[] moved = at.clone();
        moved[i] += steps[k];
        t.copyFrom(moved);
        values[k] = loss.getAsDouble();
      }
      gradient[i] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h);
    }
    t.copyFrom(at);
    return gradient;
  }
}
