package org.fusednorm.cpu;

import java.util.Arrays;

/**
 * From how long a job takes a thread alone it is worth the help of others, chosen by how long whole
 * replays take. Handing a job over costs 0.2 us where two cores share a cache; where they do not,
 * every line that the other wrote costs more than computing it again; and where they are threads of
 * one core, they bring next to nothing. A virtual machine may change from one to another while it
 * runs, so now and then all are tried again, and at once when replays become slower.
 */
final class HelpChoice {
  /** All jobs; those that stay within a small layer not; none. */
  private static final long[] WORTH_HELP = {Workers.LEAST_NANOS, 4_500, Long.MAX_VALUE};

  /** Replays by whose median one is judged, after some that put data where they expect it. */
  private static final int JUDGED = 9;

  private static final int UNJUDGED = 3;

  /** Another choice than help for all must be so much better. */
  private static final double CLEARLY = 0.97;

  /** So much slower than when it was chosen: the machine has changed. */
  private static final double SLOWER = 1.2;

  /** Replays until all are tried again: more, each time that the choice proves right. */
  private static final int LEAST_KEPT = 500;

  private static final int MOST_KEPT = 8_000;

  /** Replays longer than this have jobs that are worth help everywhere. */
  private static final long LONG_NANOS = 2_000_000;

  private final long[] nanos = new long[JUDGED];
  private final long[] median = new long[WORTH_HELP.length];
  private boolean trying = true;
  private int current;
  private int chosen;
  private int done;
  private int kept;
  private int keep = LEAST_KEPT;

  /** What the next replay is to go by. */
  long worthHelp() {
    return WORTH_HELP[current];
  }

  /** How long it took. */
  void took(long time) {
    kept++;
    if (done >= UNJUDGED || !trying) {
      nanos[trying ? done - UNJUDGED : done] = time;
    }
    done++;
    if (done < (trying ? UNJUDGED + JUDGED : JUDGED)) {
      return;
    }
    done = 0;
    Arrays.sort(nanos);
    long middle = nanos[JUDGED / 2];
    if (!trying) {
      if (kept >= keep || middle > SLOWER * median[chosen]) {
        keep = kept >= keep ? keep : LEAST_KEPT;
        trying = true;
        current = 0;
      }
      return;
    }
    median[current] = middle;
    if (middle > LONG_NANOS) {
      choose(0);
    } else if (current + 1 < WORTH_HELP.length) {
      current++;
    } else {
      int best = 0;
      for (int i = 1; i < WORTH_HELP.length; i++) {
        if (median[i] < (best == 0 ? CLEARLY : 1) * median[best]) {
          best = i;
        }
      }
      choose(best);
    }
  }

  private void choose(int best) {
    keep = best == chosen ? Math.min(MOST_KEPT, 2 * keep) : LEAST_KEPT;
    chosen = best;
    current = best;
    trying = false;
    kept = 0;
  }
}
