package org.fusednorm.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import org.fusednorm.bench.NormCase.Operation;

/**
 * A case and those who compute it, one after another in every round.
 *
 * @param norm what is computed
 * @param contenders by whom
 */
record Contest(NormCase norm, List<Contender> contenders) {
  private static final List<String> SHAPES =
      List.of(
          "NCHW:32x64x112x112",
          "NHWC:32x112x112x64",
          "NCHW:32x256x56x56",
          "NHWC:32x56x56x256",
          "NCHW:32x512x28x28",
          "NCHW:32x2048x7x7",
          "NC:8192x4096",
          "NC:256x1024",
          "NC:60x100",
          "NCHW:2x32x8x8");

  private static final List<String> MORE_SHAPES = List.of("NHWC:32x28x28x512", "NHWC:32x7x7x2048");

  private static final Set<String> ALSO_RELU =
      Set.of("NCHW:32x64x112x112", "NCHW:32x256x56x56", "NHWC:32x56x56x256");
  private static final Set<String> ALSO_BF16 = Set.of("NCHW:32x256x56x56", "NHWC:32x56x56x256");
  private static final Set<String> ALSO_ND4J = Set.of("NCHW:32x256x56x56", "NC:60x100");

  /**
   * What is to be measured.
   *
   * @param kind {@code headline} or {@code all}
   * @param only a regular expression that is found in the texts of the cases to take
   */
  static List<Contest> planned(String kind, String only) {
    Pattern pattern = Pattern.compile(only);
    return (kind.equals("all") ? all() : headline())
        .stream().filter(c -> pattern.matcher(c.norm().toString()).find()).toList();
  }

  /** What fits into half an hour with five rounds. */
  static List<Contest> headline() {
    List<Contest> all = new ArrayList<>();
    for (String shape : SHAPES) {
      for (Operation o : Operation.values()) {
        boolean three =
            o == Operation.FORWARD || o == Operation.BACKWARD || o == Operation.INFERENCE;
        if (three || o == Operation.FORWARD_RELU && ALSO_RELU.contains(shape)) {
          all.add(contest(shape, "F32", o, o == Operation.FORWARD || o == Operation.BACKWARD));
        }
        if (ALSO_BF16.contains(shape) && (o == Operation.FORWARD || o == Operation.BACKWARD)) {
          all.add(contest(shape, "BF16", o, false));
        }
      }
    }
    return all;
  }

  /** Every shape, type and operation. */
  static List<Contest> all() {
    List<String> shapes = new ArrayList<>(SHAPES);
    shapes.addAll(MORE_SHAPES);
    List<Contest> all = new ArrayList<>();
    for (String shape : shapes) {
      for (String type : List.of("F32", "BF16")) {
        for (Operation o : Operation.values()) {
          all.add(contest(shape, type, o, true));
        }
      }
    }
    return all;
  }

  private static Contest contest(String shape, String type, Operation o, boolean java) {
    boolean nd4j = type.equals("F32") && o == Operation.FORWARD && ALSO_ND4J.contains(shape);
    NormCase c = NormCase.parse(shape, type, o.toString());
    return new Contest(c, Contender.of(c, java, nd4j));
  }
}
