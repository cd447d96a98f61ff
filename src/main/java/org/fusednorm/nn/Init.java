package org.fusednorm.nn;

import java.util.function.DoubleSupplier;
import org.fusednorm.Tensor;

/**
 * Fills a parameter with its initial values. Drawn in F64 in the order of the elements and rounded
 * to the tensor's type; what a {@link Generator} of one seed makes is the same on every backend.
 *
 * <p>For a weight [out, in] the fan-in is the number of elements per row and the fan-out the number
 * of rows.
 */
@FunctionalInterface
public interface Init {
  /** Writes every element of {@code t}. */
  void fill(Tensor t);

  /** Normal with mean 0 and deviation {@code sigma}. */
  static Init gaussian(double sigma, Generator g) {
    if (!(sigma >= 0) || Double.isInfinite(sigma)) {
      throw new IllegalArgumentException("sigma must be finite and not negative, not " + sigma);
    }
    return t -> draw(t, () -> sigma * g.nextGaussian());
  }

  /**
   * Uniform in [-a, a) with a = sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010, equation 16).
   */
  static Init xavierUniform(Generator g) {
    return t -> {
      double a = StrictMath.sqrt(6.0 / (fanIn(t) + fanOut(t)));
      draw(t, () -> a * (2 * g.nextDouble() - 1));
    };
  }

  /** Normal with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010, equation 12). */
  static Init xavierNormal(Generator g) {
    return t -> {
      double sigma = StrictMath.sqrt(2.0 / (fanIn(t) + fanOut(t)));
      draw(t, () -> sigma * g.nextGaussian());
    };
  }

  /** Normal with variance 2 / fan-in, for ReLU (He, Zhang, Ren and Sun 2015, equation 10). */
  static Init he(Generator g) {
    return t -> {
      double sigma = StrictMath.sqrt(2.0 / fanIn(t));
      draw(t, () -> sigma * g.nextGaussian());
    };
  }

  /** Zeros. */
  static Init zeros() {
    return Tensor::fillZero;
  }

  /** Every element {@code v}. */
  static Init constant(double v) {
    return t -> draw(t, () -> v);
  }

  private static long fanIn(Tensor t) {
    return t.shape().elements() / fanOut(t);
  }

  private static long fanOut(Tensor t) {
    if (t.shape().rank() < 2 || t.shape().elements() == 0) {
      throw new IllegalArgumentException(t + " is no weight [out, in]: it has no fan-in");
    }
    return t.shape().batch();
  }

  private static void draw(Tensor t, DoubleSupplier next) {
    double[] v = new double[Math.toIntExact(t.shape().elements())];
    for (int i = 0; i < v.length; i++) {
      v[i] = next.getAsDouble();
    }
    t.copyFrom(v);
  }
}
