package org.fusednorm.cli;

import java.util.Arrays;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.nn.BoundSequential;
import org.fusednorm.nn.Sequential;
import org.fusednorm.nn.Use;

/** Runs a network in inference over a whole test set, piece by piece. */
final class Evaluator implements AutoCloseable {
  /** Images of a piece: its activations stay in a core's cache. */
  private static final int PIECE = 500;

  /** The unit of the last hidden layer whose input is watched: "one typical sigmoid" of Fig. 1. */
  static final int UNIT = 0;

  private final Backend backend;
  private final DeviceData test;
  private final Tensor rows;
  private final Tensor x;
  private final Tensor labels;
  private final Tensor correct;
  private final BoundSequential bound;
  private final long[] picked = new long[PIECE];

  /**
   * What an evaluation gives.
   *
   * @param accuracy fraction of images classified right
   * @param percentiles 15th, 50th and 85th percentile of one sigmoid's input, or null
   */
  record Result(double accuracy, double[] percentiles) {}

  Evaluator(Backend backend, Sequential net, DeviceData test) {
    this.backend = backend;
    this.test = test;
    rows = backend.zeros(Shape.of(PIECE), DType.I64);
    x = backend.zeros(Shape.nc(PIECE, test.pixels()), DType.F32);
    labels = backend.zeros(Shape.of(PIECE), DType.I64);
    correct = backend.zeros(Shape.of(1), DType.I64);
    bound = net.bind(x, Use.INFER, backend);
  }

  /**
   * Evaluates.
   *
   * @param watched child whose output's distribution is wanted, or null
   */
  Result run(String watched) {
    correct.fillZero();
    float[] seen = watched == null ? null : new float[test.count()];
    for (int from = 0; from < test.count(); from += PIECE) {
      int n = Math.min(PIECE, test.count() - from);
      for (int i = 0; i < PIECE; i++) {
        picked[i] = from + Math.min(i, n - 1);
      }
      rows.copyFrom(picked);
      test.gather(rows, x, labels);
      bound.forward();
      // The last piece may be shorter: what fills it up is computed but not counted.
      backend.math().correct(bound.y().batch(0, n), labels.batch(0, n), correct, Write.ADD);
      if (seen != null) {
        Tensor y = bound.child(watched).y();
        float[] all = y.toFloats();
        int columns = all.length / PIECE;
        for (int i = 0; i < n; i++) {
          seen[from + i] = all[i * columns + UNIT];
        }
      }
    }
    double accuracy = (double) correct.toLongs()[0] / test.count();
    return new Result(accuracy, seen == null ? null : percentiles(seen));
  }

  private static double[] percentiles(float[] values) {
    Arrays.sort(values);
    double[] p = {0.15, 0.5, 0.85};
    for (int i = 0; i < p.length; i++) {
      double at = p[i] * (values.length - 1);
      int below = (int) at;
      int above = Math.min(below + 1, values.length - 1);
      p[i] = values[below] + (at - below) * (values[above] - values[below]);
    }
    return p;
  }

  @Override
  public void close() {
    bound.close();
    for (Tensor t : new Tensor[] {rows, x, labels, correct}) {
      t.close();
    }
  }
}
