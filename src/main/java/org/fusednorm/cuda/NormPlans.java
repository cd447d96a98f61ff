package org.fusednorm.cuda;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;
import org.fusednorm.host.Settings;

/**
 * The plans of an engine, made once each, and the way that each of them takes on this GPU: the
 * first that its settings allow, that the image has a kernel for and that the GPU did not refuse.
 */
final class NormPlans {
  /** {@code false}: each half of a step is a launch of its own. */
  private static final String TICKETS = "fusednorm.cuda.tickets";

  /** {@code false}, {@code off}, or the kind that is taken wherever it fits. */
  private static final String SINGLE_PASS = "fusednorm.cuda.single-pass";

  private static final int PLANS = 256;
  private static final int MOST_PLANS = 4096;

  private final Launches launches;

  /** Null where nothing is timed. */
  private final Tuner tuner;

  private final boolean mayUseTickets;
  private final boolean mayUseSinglePass;
  private final String preferred;
  private final NormPlan[] plans = new NormPlan[PLANS];
  private int planned;

  /** Larger ones were refused. */
  private int largestCluster = Integer.MAX_VALUE;

  NormPlans(Launches launches, Tuner tuner) {
    this.launches = launches;
    this.tuner = tuner;
    mayUseTickets = !isOff(Settings.get(TICKETS));
    String given = Settings.get(SINGLE_PASS);
    mayUseSinglePass = !isOff(given);
    preferred = mayUseSinglePass && given != null ? kind(given) : null;
  }

  private static boolean isOff(String value) {
    return value != null && (value.equalsIgnoreCase("off") || value.equalsIgnoreCase("false"));
  }

  private static String kind(String given) {
    List<String> known = SinglePasses.KINDS.stream().map(SinglePass.Kind::text).toList();
    String kind = given.toLowerCase(Locale.ROOT);
    if (kind.equals("on") || kind.equals("true")) {
      return null;
    }
    if (!known.contains(kind)) {
      throw new IllegalArgumentException(
          "-D"
              + SINGLE_PASS
              + "="
              + given
              + " is neither on nor off and none of "
              + known.stream().collect(Collectors.joining(", ")));
    }
    return kind;
  }

  /** The plan for data of this shape and addresses that were or-ed. */
  NormPlan plan(Direction d, Shape s, DType t, long addresses, boolean gate) {
    int alignment = NormPlan.alignment(addresses);
    int slot = Math.floorMod(NormPlan.hash(d, s, t, alignment, gate), PLANS);
    for (NormPlan p = plans[slot]; p != null; p = p.next) {
      if (p.isFor(d, s, t, alignment, gate)) {
        return p;
      }
    }
    if (planned++ == MOST_PLANS) {
      planned = 1;
      Arrays.fill(plans, null);
    }
    NormPlan made = NormPlan.of(d, s, t, alignment, gate, launches.architecture());
    made.way = choose(made);
    made.next = plans[slot];
    plans[slot] = made;
    return made;
  }

  private Way choose(NormPlan plan) {
    Way wanted = preferred == null ? null : named(plan, preferred);
    if (wanted == null && tuner != null) {
      List<Way> possible = possible(plan);
      wanted = tuner.known(plan, possible);
      plan.settled = wanted != null || possible.size() == 1;
      return wanted != null ? wanted : possible.get(0);
    }
    plan.settled = true;
    // Entries that come later are not looked for.
    return wanted != null ? wanted : plan.ways.stream().filter(this::isPossible).findFirst().get();
  }

  private Way named(NormPlan plan, String name) {
    return plan.ways.stream()
        .filter(w -> w.name().equals(name) && isPossible(w))
        .findFirst()
        .orElse(null);
  }

  /**
   * Times what a plan can do that is not settled, unless this is a capture.
   *
   * @param inputs addresses of the data
   * @param outputs how many tensors are written
   */
  void settle(NormPlan plan, long[] inputs, int outputs, Tuner.Trial trial) {
    if (!plan.settled && !launches.capturing() && plan.hasElements()) {
      plan.settled = true;
      plan.way = tuner.tune(plan, possible(plan), inputs, outputs, trial);
    }
  }

  /** What can be done here, best first; never empty. */
  private List<Way> possible(NormPlan plan) {
    return plan.ways.stream().filter(this::isPossible).toList();
  }

  private boolean isPossible(Way w) {
    if (w.single() == null) {
      return w != Way.TICKETS || mayUseTickets;
    }
    return mayUseSinglePass
        && w.single().kind.cluster() <= largestCluster
        && w.single().sharedBytes() <= launches.sharedMemory()
        && launches.canHold(w.single().team())
        && launches.kernel(w.single().entry) != null;
  }

  /** The GPU refused the cluster of the plan's way: neither it nor a larger one is used again. */
  void refused(NormPlan plan) {
    largestCluster = plan.way.single().kind.cluster() - 1;
    plan.way = choose(plan);
    for (NormPlan first : plans) {
      for (NormPlan p = first; p != null; p = p.next) {
        p.way = choose(p);
      }
    }
  }
}
