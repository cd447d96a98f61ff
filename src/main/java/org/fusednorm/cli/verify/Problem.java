package org.fusednorm.cli.verify;

import java.util.List;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Scope;

/** A program of verbs with inputs of its own, and the truth about its results. */
interface Problem {
  /** What it is about, for people: a shape, or the name of a golden case. */
  String name();

  /** The types of data that hold the inputs exactly. */
  List<DType> types();

  /** Whether it needs the verbs of {@link org.fusednorm.MathOps}, which not all types have. */
  boolean needsMath();

  /** Runs the verbs on data of type {@code t}. */
  void run(Memory m, DType t, Results out);

  /** The true results: at least those of {@link #run}. */
  default Results truth(Backend reference) {
    Results truth = new Results();
    try (Scope s = reference.scope()) {
      run(s, DType.F64, truth);
    }
    return truth;
  }
}
