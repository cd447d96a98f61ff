package org.fusednorm.bench;

import java.util.List;
import java.util.Locale;
import org.fusednorm.DType;

/**
 * Whether the contenders of a contest compute the same as the reference from the same values: only
 * equal work is compared.
 */
final class NormCheck {
  /** For the worst: oneDNN's nChw8c on one thread is 1.1e-4 off at 401,408 values per channel. */
  private static final double F32_TOLERANCE = 1e-3;

  /** Two roundings to eight bits. */
  private static final double BF16_TOLERANCE = 1.6e-2;

  /** A ReLU's gate may fall the other way where its input is a rounding error away from 0. */
  private static final double GATES = 1e-4;

  private NormCheck() {}

  /**
   * Runs with the class path of the contenders.
   *
   * @param args a {@link Contender.Process}, and what {@link Contest#planned} takes
   */
  public static void main(String[] args) throws Exception {
    Contender.Process process = Contender.Process.valueOf(args[0]);
    for (Contest contest : Contest.planned(args[1], args[2])) {
      List<Contender> contenders =
          contest.contenders().stream()
              .filter(c -> c.process() == process && !Contender.isLimit(c.name()))
              .filter(c -> !c.name().equals(Contender.OURS_F32))
              .toList();
      if (contenders.isEmpty()) {
        continue;
      }
      NormData data = NormData.random(contest.norm());
      float[] expected = expected(contest.norm(), data);
      for (Contender c : contenders) {
        check(contest.norm(), c, data, expected);
      }
    }
    System.out.println("checked");
    System.exit(0); // libraries leave threads behind
  }

  private static float[] expected(NormCase c, NormData data) {
    try (NormWork reference = FusednormNorm.work("reference", c, data)) {
      reference.call();
      return reference.result();
    }
  }

  private static void check(NormCase norm, Contender contender, NormData data, float[] expected)
      throws Exception {
    float[] result;
    String description;
    try (NormWork work = contender.open(norm, data)) {
      work.before();
      work.call();
      result = work.result();
      description = work.description();
      work.after();
    }
    double tolerance = norm.type() == DType.F32 ? F32_TOLERANCE : BF16_TOLERANCE;
    double worst = 0;
    long beyond = 0;
    for (int i = 0; i < expected.length; i++) {
      double e = Math.abs(result[i] - expected[i]) / (1 + Math.abs(expected[i]));
      worst = Math.max(worst, e);
      beyond += e <= tolerance ? 0 : 1;
    }
    boolean gated = norm.operation().isBackward() && norm.operation().relu();
    boolean right =
        result.length == expected.length && beyond <= (gated ? GATES * expected.length : 0);
    System.out.printf(
        Locale.ROOT,
        "%s, %s: largest error %.1e (%s)%n",
        norm,
        contender.name(),
        worst,
        description);
    if (!right) {
      throw new IllegalStateException(
          contender.name()
              + " computes something else in "
              + norm
              + ": "
              + beyond
              + " of "
              + expected.length
              + " values are wrong, the largest error is "
              + worst);
    }
  }
}
