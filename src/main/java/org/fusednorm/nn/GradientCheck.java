package org.fusednorm.nn;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/**
 * Compares gradients with central differences of the loss, (L(v + h) - L(v - h)) / 2h with h = 6e-6
 * max(1, |v|), the step that balances truncation against rounding in F64. A right gradient of a
 * smooth network comes out below 1e-6; where a ReLU switches between v - h and v + h the difference
 * means nothing.
 */
public final class GradientCheck {
  private static final double STEP = 6e-6;

  private GradientCheck() {}

  /**
   * The element of a parameter whose gradient is worst.
   *
   * @param parameter its name
   * @param index which element, flat
   * @param analytic gradient that backward wrote
   * @param numeric gradient by differences
   * @param error |analytic - numeric| relative to the larger of both, but to no less than a
   *     thousandth of the parameter's largest gradient and 1e-4 of the loss, below which rounding
   *     rules
   */
  public record Worst(
      String parameter, long index, double analytic, double numeric, double error) {}

  /**
   * Checks every element of every parameter. The input of a network is checked as a parameter too:
   * {@code new Parameter("x", x, dx)}. Values are put back; training forwards are many, so running
   * statistics move.
   *
   * @param forward computes the loss from the parameters
   * @param backward writes the gradients of that forward
   * @param loss F64, one element
   * @param parameters F64
   * @return one result per parameter, in their order
   * @throws IllegalArgumentException when a parameter is not F64 or has no element
   */
  public static List<Worst> run(
      Runnable forward, Runnable backward, Tensor loss, List<Parameter> parameters) {
    for (Parameter p : parameters) {
      if (p.value().dtype() != DType.F64 || p.value().shape().elements() == 0) {
        throw new IllegalArgumentException(
            p.name() + " " + p.value() + ": differences need F64 and at least one element");
      }
    }
    forward.run();
    backward.run();
    double lossHere = loss.toDoubles()[0];
    List<double[]> analytic = new ArrayList<>();
    for (Parameter p : parameters) {
      analytic.add(p.gradient().toDoubles());
    }
    List<Worst> all = new ArrayList<>();
    for (int i = 0; i < parameters.size(); i++) {
      Parameter p = parameters.get(i);
      double[] numeric = differences(forward, loss, p.value());
      all.add(worst(p.name(), analytic.get(i), numeric, lossHere));
    }
    return all;
  }

  private static double[] differences(Runnable forward, Tensor loss, Tensor value) {
    double[] at = value.toDoubles();
    double[] gradient = new double[at.length];
    Tensor flat = value.as(Shape.of(at.length));
    for (int i = 0; i < at.length; i++) {
      Tensor element = flat.batch(i, i + 1);
      double above = at[i] + STEP * Math.max(1, Math.abs(at[i]));
      double below = at[i] - STEP * Math.max(1, Math.abs(at[i]));
      element.copyFrom(above);
      forward.run();
      double high = loss.toDoubles()[0];
      element.copyFrom(below);
      forward.run();
      double low = loss.toDoubles()[0];
      element.copyFrom(at[i]);
      gradient[i] = (high - low) / (above - below);
    }
    forward.run();
    return gradient;
  }

  private static Worst worst(String name, double[] analytic, double[] numeric, double loss) {
    double largest = 0;
    for (int i = 0; i < analytic.length; i++) {
      double larger = Math.max(Math.abs(analytic[i]), Math.abs(numeric[i]));
      if (larger > largest) { // Not Math.max: one NaN shall not hide which element it is.
        largest = larger;
      }
    }
    double floor = Math.max(Double.MIN_NORMAL, Math.max(1e-3 * largest, 1e-4 * Math.abs(loss)));
    Worst worst = null;
    for (int i = 0; i < analytic.length; i++) {
      double larger = Math.max(Math.abs(analytic[i]), Math.abs(numeric[i]));
      double error = Math.abs(analytic[i] - numeric[i]) / Math.max(larger, floor);
      // A NaN is worse than any number, and compares with none.
      if (worst == null || !(error <= worst.error)) {
        worst = new Worst(name, i, analytic[i], numeric[i], error);
        if (Double.isNaN(error)) {
          return worst;
        }
      }
    }
    return worst;
  }
}
