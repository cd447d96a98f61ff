package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.Test;

/** What replays are helped with, on machines that are made up. */
class HelpChoiceTest {
  private static final long ALL = Workers.LEAST_NANOS;
  private static final long NONE = Long.MAX_VALUE;

  /** How long a replay takes. */
  private interface Machine {
    long nanos(long worthHelp);
  }

  /** The share of replays that went by {@code wanted}. */
  private static double share(HelpChoice c, int replays, long wanted, Machine m) {
    Random noise = new Random(5);
    int right = 0;
    for (int i = 0; i < replays; i++) {
      long w = c.worthHelp();
      right += w == wanted ? 1 : 0;
      // One in twenty is interrupted.
      c.took(m.nanos(w) + noise.nextInt(2_000) + (noise.nextInt(20) == 0 ? 400_000 : 0));
    }
    return right / (double) replays;
  }

  @Test
  void takesWhatIsFastest() {
    assertTrue(share(new HelpChoice(), 20_000, ALL, w -> w == ALL ? 100_000 : 160_000) > 0.98);
    assertTrue(share(new HelpChoice(), 20_000, NONE, w -> w == NONE ? 150_000 : 190_000) > 0.98);
    assertTrue(
        share(
                new HelpChoice(),
                20_000,
                4_500,
                w -> w == ALL ? 180_000 : w == NONE ? 160_000 : 135_000)
            > 0.98);
  }

  @Test
  void helpForAllWhereAllAreEqual() {
    assertTrue(share(new HelpChoice(), 20_000, ALL, w -> 100_000) > 0.95);
  }

  @Test
  void followsTheMachine() {
    HelpChoice c = new HelpChoice();
    share(c, 20_000, ALL, w -> w == ALL ? 100_000 : 160_000);
    // Slower at once: tried again within some tens of replays.
    assertTrue(share(c, 1_000, NONE, w -> w == NONE ? 160_000 : 200_000) > 0.9);
    // Faster with help only: seen when the time has come.
    share(c, 1_000, ALL, w -> w == ALL ? 100_000 : 160_000);
    assertTrue(share(c, 10_000, ALL, w -> w == ALL ? 100_000 : 160_000) > 0.9);
  }

  @Test
  void longReplaysAreNeverTriedWithoutHelp() {
    assertEquals(1, share(new HelpChoice(), 5_000, ALL, w -> 3_000_000));
  }
}
