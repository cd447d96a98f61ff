package org.fusednorm.cli.verify;

import org.fusednorm.DType;

/**
 * One output of one verb beside the truth. Errors are relative to what suits the kind of output
 * (see the tolerances of the problems).
 *
 * @param backend where it was computed
 * @param operation the verb, with what it was asked to do beside
 * @param output name of the output
 * @param problem shape, or name of the golden case
 * @param dtype type of the data
 * @param maxError the largest error; infinite for a NaN or infinity where there must be none or
 *     another, and for none where there must be one
 * @param rmsError root of the mean squared error
 * @param threshold what {@code maxError} may be
 * @param index place of the largest error, -1 where nothing was computed
 * @param expected the true value there
 * @param actual what was computed there
 * @param failure what was thrown in place of a result, else empty
 */
public record Comparison(
    String backend,
    String operation,
    String output,
    String problem,
    DType dtype,
    double maxError,
    double rmsError,
    double threshold,
    int index,
    double expected,
    double actual,
    String failure) {

  static Comparison of(
      String backend, String problem, DType dtype, Results.Result truth, Results.Result got) {
    double[] expected = truth.values();
    double[] actual = got.values();
    if (expected.length != actual.length) {
      throw new IllegalStateException(
          got.operation() + ": " + expected.length + " true values for " + actual.length);
    }
    double max = 0;
    double squares = 0;
    int worst = expected.length == 0 ? -1 : 0;
    for (int i = 0; i < expected.length; i++) {
      double e = truth.tolerance().error(i, expected[i], actual[i]);
      squares += e * e;
      if (e > max) {
        max = e;
        worst = i;
      }
    }
    return new Comparison(
        backend,
        got.operation(),
        got.output(),
        problem,
        dtype,
        max,
        expected.length == 0 ? 0 : Math.sqrt(squares / expected.length),
        truth.tolerance().threshold(dtype, got.stored()),
        worst,
        worst < 0 ? 0 : expected[worst],
        worst < 0 ? 0 : actual[worst],
        "");
  }

  static Comparison thrown(
      String backend, String operation, String problem, DType dtype, RuntimeException e) {
    double inf = Double.POSITIVE_INFINITY;
    return new Comparison(
        backend, operation, "", problem, dtype, inf, inf, 0, -1, 0, 0, e.toString());
  }

  /** Whether the output is as near to the truth as it must be. */
  public boolean ok() {
    return maxError <= threshold;
  }

  /** How much of the threshold was used: over 1 for a failure. */
  public double used() {
    return maxError == 0 ? 0 : maxError / threshold;
  }
}
