package org.fusednorm.bench;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import org.fusednorm.bench.PeerRecord.Measurement;
import org.fusednorm.bench.PeerRecord.Round;

/**
 * What the rounds of one contest come to. A round counts each contender by the median of its
 * iterations; ratios are taken within rounds, and everything is the median of the rounds.
 *
 * @param norm what is computed
 * @param threads by how many
 * @param limit seconds of the least traffic, without arithmetic
 * @param entries by contender, ours first
 */
record PeerSummary(NormCase norm, int threads, double limit, Map<String, Entry> entries) {
  /**
   * One contender.
   *
   * @param seconds of a call
   * @param gigabytesPerSecond 10^9 of the least bytes
   * @param ofLimit time of the limit over its time
   * @param overOurs its time over ours; the speed of F32 over ours for ours in F32
   * @param overOursByRound the same in every round
   */
  record Entry(
      double seconds,
      double gigabytesPerSecond,
      double ofLimit,
      double overOurs,
      double[] overOursByRound) {}

  /** Contests in the order in which they were planned. */
  static List<PeerSummary> of(List<Round> rounds) {
    List<String> order = Contest.all().stream().map(c -> c.norm().toString()).toList();
    Map<String, List<Round>> groups = new LinkedHashMap<>();
    rounds.stream()
        .sorted(
            Comparator.comparingInt((Round r) -> r.threads())
                .thenComparingInt(r -> order.indexOf(r.norm().toString())))
        .forEach(
            r ->
                groups
                    .computeIfAbsent(r.threads() + " " + r.norm(), k -> new ArrayList<>())
                    .add(r));
    return groups.values().stream().map(PeerSummary::summarize).toList();
  }

  private static PeerSummary summarize(List<Round> rounds) {
    NormCase norm = rounds.get(0).norm();
    Map<String, Entry> entries = new LinkedHashMap<>();
    for (Contender c : Contender.of(norm, true, true)) {
      String name = c.name();
      if (Contender.isLimit(name) || rounds.stream().anyMatch(r -> seconds(r, name) == 0)) {
        continue;
      }
      double[] ratios = each(rounds, r -> seconds(r, name) / seconds(r, Contender.OURS));
      double seconds = PeerRecord.median(each(rounds, r -> seconds(r, name)));
      entries.put(
          name,
          new Entry(
              seconds,
              c.taken(norm).bytes() / seconds / 1e9,
              PeerRecord.median(each(rounds, r -> limit(r) / seconds(r, name))),
              PeerRecord.median(ratios),
              ratios));
    }
    return new PeerSummary(
        norm,
        rounds.get(0).threads(),
        PeerRecord.median(each(rounds, PeerSummary::limit)),
        entries);
  }

  private static double[] each(List<Round> rounds, ToDoubleFunction<Round> value) {
    return rounds.stream().mapToDouble(value).toArray();
  }

  /** 0 for who did not take part. */
  private static double seconds(Round r, String contender) {
    return r.measurements().stream()
        .filter(m -> m.contender().equals(contender))
        .mapToDouble(Measurement::median)
        .findFirst()
        .orElse(0);
  }

  private static double limit(Round r) {
    return r.measurements().stream()
        .filter(m -> Contender.isLimit(m.contender()))
        .mapToDouble(Measurement::median)
        .min()
        .orElse(Double.NaN);
  }
}
