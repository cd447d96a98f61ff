package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.stream.LongStream;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Random numbers and the initial values made of them. */
class InitTest {
  private final Backend backend = Backends.open("reference");

  @AfterEach
  void close() {
    backend.close();
  }

  private double[] filled(Init init, Shape s) {
    Tensor t = backend.empty(s, DType.F64);
    init.fill(t);
    return t.toDoubles();
  }

  private static double mean(double[] v) {
    return Arrays.stream(v).average().orElseThrow();
  }

  private static double deviation(double[] v) {
    double mean = mean(v);
    return Math.sqrt(Arrays.stream(v).map(a -> (a - mean) * (a - mean)).sum() / v.length);
  }

  @Test
  void deviationsAreThoseOfTheFormulas() {
    Shape s = Shape.of(300, 500); // Deviation of the sample's deviation: 0.2 %.
    assertEquals(0.01, deviation(filled(Init.gaussian(0.01, new Generator(1)), s)), 1e-4);
    double xavier = Math.sqrt(2.0 / 800);
    assertEquals(1, deviation(filled(Init.xavierNormal(new Generator(2)), s)) / xavier, 0.01);
    double[] uniform = filled(Init.xavierUniform(new Generator(3)), s);
    assertEquals(1, deviation(uniform) / xavier, 0.01);
    double largest = Arrays.stream(uniform).map(Math::abs).max().orElseThrow();
    assertEquals(Math.sqrt(6.0 / 800), largest, 1e-5);
    double[] he = filled(Init.he(new Generator(4)), s);
    assertEquals(1, deviation(he) / Math.sqrt(2.0 / 500), 0.01);
    assertEquals(0, mean(he), 5 * Math.sqrt(2.0 / 500) / Math.sqrt(he.length));
    assertArrayEquals(new double[] {0, 0}, filled(Init.zeros(), Shape.of(2)));
    assertArrayEquals(new double[] {1.5, 1.5}, filled(Init.constant(1.5), Shape.of(2)));
  }

  @Test
  void normalNumbersHaveTheRightTails() {
    double[] v = Nets.gaussian(200_000, 5);
    double within1 = Arrays.stream(v).filter(a -> Math.abs(a) < 1).count() / 200_000.0;
    double within2 = Arrays.stream(v).filter(a -> Math.abs(a) < 2).count() / 200_000.0;
    double beyond3 = Arrays.stream(v).filter(a -> a > 3).count() / 200_000.0;
    assertEquals(0.6827, within1, 0.004);
    assertEquals(0.9545, within2, 0.002);
    assertEquals(0.00135, beyond3, 0.0004);
  }

  /** Against the algorithm written down a second time, in Python. */
  @Test
  void numbersAreTheSameEverywhere() {
    Generator g = new Generator(1);
    assertEquals(6791897765849424158L, g.nextLong());
    assertEquals(0.9435642308648544, g.nextDouble());
    assertEquals(0.05220700661023098, g.nextGaussian());
    assertEquals(4, g.position());
  }

  @Test
  void positionAndStreams() {
    Generator g = new Generator(9);
    g.nextGaussian();
    long position = g.position();
    double next = g.nextGaussian();
    Generator resumed = new Generator(9);
    resumed.position(position);
    assertEquals(next, resumed.nextGaussian());
    assertEquals(new Generator(9).stream(3).nextLong(), g.stream(3).nextLong());
    assertNotEquals(g.stream(4).nextLong(), g.stream(3).nextLong());
    assertNotEquals(new Generator(9).nextLong(), new Generator(10).nextLong());
  }

  @Test
  void shuffleIsAFairPermutation() {
    Generator g = new Generator(2);
    int[][] seen = new int[5][5];
    for (int n = 0; n < 20_000; n++) {
      long[] v = LongStream.range(0, 5).toArray();
      g.shuffle(v);
      for (int i = 0; i < 5; i++) {
        seen[i][(int) v[i]]++;
      }
    }
    for (int[] row : seen) {
      assertEquals(20_000, Arrays.stream(row).sum());
      for (int count : row) {
        assertEquals(4000, count, 5 * Math.sqrt(20_000 * 0.2 * 0.8));
      }
    }
  }

  @Test
  void badArgumentsAreRefused() {
    Generator g = new Generator(1);
    assertThrows(IllegalArgumentException.class, () -> g.nextInt(0));
    assertThrows(IllegalArgumentException.class, () -> Init.gaussian(Double.NaN, g));
    var e = assertThrows(IllegalArgumentException.class, () -> filled(Init.he(g), Shape.of(7)));
    assertTrue(e.getMessage().contains("[7] F64"), e::getMessage);
  }
}
