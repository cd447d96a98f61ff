package org.fusednorm.cli.verify;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.fusednorm.DType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ComparisonTest {
  private static Comparison compare(double expected, double actual, Tolerance tolerance) {
    return Comparison.of(
        "cpu", "one value", DType.F32, result(expected, tolerance), result(actual, tolerance));
  }

  private static Results.Result result(double value, Tolerance tolerance) {
    return new Results.Result("infer", "y", DType.F32, new double[] {3, value}, tolerance);
  }

  @ParameterizedTest
  @CsvSource({
    "NaN,Infinity",
    "Infinity,NaN",
    "Infinity,-Infinity",
    "1,NaN",
    "NaN,1",
    "-Infinity,1"
  })
  void anotherValueThatIsNotFiniteIsAnInfiniteErrorUnlessThePlaceIsOpen(
      double expected, double actual) {
    Tolerance strict = Tolerance.ofValues(1, 1);
    Comparison c = compare(expected, actual, strict);
    assertFalse(c.ok(), c.toString());
    assertEquals(Double.POSITIVE_INFINITY, c.maxError());
    assertEquals(1, c.index());
    boolean neither = !Double.isFinite(expected) && !Double.isFinite(actual);
    assertEquals(neither, compare(expected, actual, strict.open(i -> i == 1)).ok());
    assertFalse(compare(expected, actual, strict.open(i -> i == 0)).ok());
  }

  @ParameterizedTest
  @CsvSource({"NaN", "Infinity", "-Infinity", "0"})
  void theSameValueIsNoError(double value) {
    assertTrue(compare(value, value, Tolerance.ROUNDED).ok());
  }

  @Test
  void anErrorThatIsNoNumberDoesNotPass() {
    Tolerance unknownScale = new Tolerance(1, 1, (i, expected) -> Double.NaN);
    assertFalse(compare(1, 2, unknownScale).ok());
  }
}
