package org.fusednorm.cuda;

import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.fusednorm.DType;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.SinglePass.Data;
import org.fusednorm.cuda.SinglePass.Kind;

/**
 * The families of {@link SinglePass} kernels, in the order in which they are tried: the first kind
 * that fits is the rule's choice.
 *
 * <table>
 * <caption>Families</caption>
 * <tr><th>kinds</th><th>data</th><th>capacities</th></tr>
 * <tr><td>rr_*</td><td>planes of whole vectors</td><td>{@link SinglePassPlanes}</td></tr>
 * <tr><td>sr_*, sg_grid</td><td>planes of whole vectors, larger channels</td><td>{@link
 *     SinglePassShared}</td></tr>
 * <tr><td>cols_*</td><td>other planes, channels last; before the others, planes whose bytes of a
 *     gate are no whole ones</td><td>{@link SinglePassColumns}</td></tr>
 * <tr><td>cg_grid</td><td>the same with more rows</td><td>{@link SinglePassColumnTeams}</td></tr>
 * </table>
 *
 * All of them: F32, F16 and BF16, every address a multiple of 16 bytes, fewer than 2^31 vectors.
 * Kernels of clusters are in the machine code for sm_90 and newer alone.
 */
final class SinglePasses {
  /** Of all families. */
  static final List<Kind> KINDS =
      Stream.of(
              SinglePassPlanes.KINDS,
              SinglePassShared.KINDS,
              SinglePassColumns.KINDS,
              SinglePassColumnTeams.KINDS)
          .flatMap(List::stream)
          .toList();

  /** Registers of a larger cluster come behind shared memory. */
  private static final int LARGE_CLUSTER = 8;

  /** Names of all entries; an image may lack some of them on some architecture. */
  static final List<String> ENTRIES =
      Stream.of(Direction.values())
          .flatMap(d -> Stream.of(DType.F32, DType.F16, DType.BF16).flatMap(t -> entries(d, t)))
          .toList();

  private SinglePasses() {}

  private static Stream<String> entries(Direction d, DType t) {
    return KINDS.stream().map(kind -> kind.entry(d, t));
  }

  /** The kernels that can do a normalization, best first. */
  static Stream<SinglePass> fitting(Data d) {
    Predicate<SinglePass> large = s -> s.kind.cluster() > LARGE_CLUSTER;
    return Stream.of(
            SinglePassColumns.fitting(d),
            SinglePassPlanes.fitting(d).filter(large.negate()),
            SinglePassShared.fitting(d),
            SinglePassPlanes.fitting(d).filter(large),
            SinglePassColumnTeams.fitting(d))
        .flatMap(s -> s);
  }
}
