package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.normal;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is computed of numbers per channel alone. Run by {@link CudaNormTest} under checks. */
class EngineMerges {
  private static Backend cuda;
  private static Backend reference;

  @BeforeAll
  static void open() {
    cuda = EngineMemory.open();
    reference = Backends.open("reference");
  }

  @AfterAll
  static void close() {
    cuda.close();
    reference.close();
  }

  /** More layers than one launch commits, each with its own rule. */
  @Test
  void commitsOfManyLayers() {
    assertArrayEquals(commits(reference), commits(cuda), 1e-15);
  }

  private static double[] commits(Backend b) {
    double[] all = new double[0];
    try (Scope m = b.scope()) {
      List<Saved> saved = new ArrayList<>();
      List<Running> running = new ArrayList<>();
      for (int i = 0; i < 35; i++) {
        int channels = 1 + 37 * i % 600;
        Saved s = Saved.empty(m, Shape.nc(4, channels), DType.F32, false);
        s.count().copyFrom(i % 4);
        s.mean().copyFrom(normal(DType.F64, i, channels, 1, 1));
        s.variance().copyFrom(normal(DType.F64, -i, channels, 5, 1));
        saved.add(s);
        running.add(
            i % 3 == 0
                ? Running.cumulative(m, channels, i % 2 == 0)
                : Running.moving(m, channels, 0.1 * (i % 7), i % 2 == 0));
      }
      for (int times = 0; times < 3; times++) {
        b.norm().commit(saved, running);
      }
      for (Running r : running) {
        for (Tensor t : List.of(r.mean(), r.variance(), r.count())) {
          double[] v = t.toDoubles();
          all = Arrays.copyOf(all, all.length + v.length);
          System.arraycopy(v, 0, all, all.length - v.length, v.length);
        }
      }
    }
    return all;
  }

  /** Ranks without values are left out, wherever they stand; all of them may be. */
  @ParameterizedTest
  @ValueSource(strings = {"5 0 7 8", "0 6 0 9", "0 0 0 0"})
  void gatheredPartsAreMergedInRankOrder(String counts) {
    double[][] both = new double[2][];
    for (Backend b : List.of(reference, cuda)) {
      try (Scope m = b.scope()) {
        int size = 1 + 2 * 300;
        double[] parts = normal(DType.F64, 3, 4 * size, 100, 1);
        for (int i = 0; i < 4; i++) {
          parts[i * size] = Double.parseDouble(counts.split(" ")[i]);
        }
        Tensor gathered = m.empty(Shape.of(4 * size), DType.F64).copyFrom(parts);
        Moments moments = Moments.empty(m, 300);
        b.norm().merge(gathered, 4, moments);
        // What lies behind the sums stays as it is.
        Tensor more = m.empty(Shape.of(2 * size + 1), DType.F64);
        more.copyFrom(normal(DType.F64, 4, 2 * size + 1, 0, 1));
        b.norm().merge(gathered, 2, Sums.of(more.batch(0, 2 * size)));
        both[b == cuda ? 1 : 0] =
            Stream.of(moments.packed(), more)
                .flatMapToDouble(t -> Arrays.stream(t.toDoubles()))
                .toArray();
      }
    }
    assertArrayEquals(both[0], both[1], 0);
  }
}
