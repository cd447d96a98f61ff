package org.fusednorm.cli.verify;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.NormOps;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cli.GoldenVectors;
import org.fusednorm.cli.GoldenVectors.Case;

/** A case of the golden vectors: the truth does not come from this project's code. */
final class GoldenProblem implements Problem {
  /** In place of the truth where there are tensors. */
  private static final GoldenVectors.Outputs NO_OUTPUTS =
      new GoldenVectors.Outputs(null, null, null, null, null);

  private static final GoldenVectors.Moments NO_MOMENTS = new GoldenVectors.Moments(null, null);

  private final Case c;
  private final Shape shape;
  private final Activation f;

  /** What F64 may lose, a few units in the last place of a mean, by its distance from 0. */
  private final double far;

  private GoldenProblem(Case c) {
    this.c = c;
    long[] d = c.shape();
    shape =
        switch (c.layout()) {
          case "NC" -> Shape.nc(d[0], d[1]);
          case "NCHW" -> Shape.nchw(d[0], d[1], d[2], d[3]);
          case "NHWC" -> Shape.nhwc(d[0], d[1], d[2], d[3]);
          default -> throw new IllegalStateException("golden vectors in layout " + c.layout());
        };
    f = Activation.valueOf(c.activation());
    double most = 0;
    for (int i = 0; i < c.channels(); i++) {
      most = Math.max(most, Math.abs(c.statistics().mean()[i]) * c.statistics().invstd()[i]);
    }
    far = most * 0x1p-48;
  }

  static List<Problem> all() {
    List<Problem> all = new ArrayList<>();
    GoldenVectors.load().forEach(c -> all.add(new GoldenProblem(c)));
    return all;
  }

  @Override
  public String name() {
    return "golden " + c.name();
  }

  @Override
  public List<DType> types() {
    return c.exactIn();
  }

  @Override
  public boolean needsMath() {
    return false;
  }

  /** What both ways have to say, in their order. */
  private final class Steps {
    final Results out;

    Steps(Results out) {
      this.out = out;
    }

    /** The truth where there is no tensor, else what the tensor holds. */
    void add(String verb, String output, double[] truth, Tensor got, Tolerance tolerance) {
      if (got == null) {
        out.add(verb, output, DType.F64, truth, tolerance);
      } else {
        out.add(verb, output, got, tolerance);
      }
    }

    void statistics(Saved s) {
      Tolerance means = new Tolerance(1e-6, 1e-13 + far, (i, e) -> deviation(i));
      add("forward", "mean", c.statistics().mean(), s == null ? null : s.mean(), means);
      Tolerance spread = new Tolerance(1e-6, 1e-13 + far, (i, e) -> e + c.eps());
      add(
          "forward",
          "variance",
          c.statistics().variance(),
          s == null ? null : s.variance(),
          spread);
      Tolerance invstd = new Tolerance(1e-6, 1e-13 + far, (i, e) -> e);
      add("forward", "invstd", c.statistics().invstd(), s == null ? null : s.invstd(), invstd);
    }

    void values(String verb, double[] truth, Tensor y) {
      add(verb, "y", truth, y, Tolerance.ofValues(2e-6, 1e-13 + far));
    }

    void gradients(
        String verb, GoldenVectors.Outputs truth, double[] invstd, Tensor dx, Tensor dr, Affine g) {
      Tolerance input =
          new Tolerance(2e-6, 1e-13 + far, (i, e) -> 2 * Math.abs(scale(invstd, i)) + Math.abs(e));
      add(verb, "dx", truth.dx(), dx, input);
      double terms = shape.valuesPerChannel();
      Tolerance sums = new Tolerance(1e-6, 1e-13 + far, (i, e) -> terms + Math.abs(e));
      if (c.gamma() != null) {
        add(verb, "dgamma", truth.dgamma(), g == null ? null : g.gamma(), sums);
      }
      if (c.beta() != null) {
        add(verb, "dbeta", truth.dbeta(), g == null ? null : g.beta(), sums);
      }
      if (c.residual() != null) {
        add(verb, "dresidual", truth.dresidual(), dr, Tolerance.ROUNDED);
      }
    }

    void running(String verb, GoldenVectors.Moments truth, Running r) {
      Tolerance means = new Tolerance(1e-6, 1e-13 + far, (i, e) -> deviation(i));
      add(verb, "mean", truth.mean(), r == null ? null : r.mean(), means);
      Tolerance spread = new Tolerance(1e-6, 1e-13 + far, (i, e) -> e + c.eps());
      add(verb, "variance", truth.variance(), r == null ? null : r.variance(), spread);
    }

    private double deviation(int channel) {
      return 1 / c.statistics().invstd()[channel];
    }
  }

  private double scale(double[] invstd, int index) {
    int channel = c.channelOf(index);
    return (c.gamma() == null ? 1 : c.gamma()[channel]) * invstd[channel];
  }

  private double[] runningInvstd() {
    double[] v = c.running().variance().clone();
    for (int i = 0; i < v.length; i++) {
      v[i] = 1 / Math.sqrt(v[i] + c.eps());
    }
    return v;
  }

  @Override
  public Results truth(Backend reference) {
    Results truth = new Results();
    Steps s = new Steps(truth);
    s.statistics(null);
    s.values("forward", c.training().y(), null);
    s.gradients("backward", c.training(), c.statistics().invstd(), null, null, null);
    s.values("infer", c.inference().y(), null);
    s.values("coefficients+normalize", c.inference().y(), null);
    s.gradients("coefficients+backward", c.inference(), runningInvstd(), null, null, null);
    s.running("commit moving", c.running(), null);
    s.running("commit cumulative", c.cumulative(), null);
    s.running("commit population", c.population(), null);
    return truth;
  }

  @Override
  public void run(Memory m, DType t, Results out) {
    Steps s = new Steps(out);
    NormOps norm = m.backend().norm();
    Tensor x = Values.tensor(m, shape, t, c.x());
    Tensor residual = Values.tensor(m, shape, t, c.residual());
    Tensor y = Values.output(m, shape, t);
    Shape channels = Shape.of(c.channels());
    Affine a =
        new Affine(
            Values.tensor(m, channels, t.parameter(), c.gamma()),
            Values.tensor(m, channels, t.parameter(), c.beta()));
    boolean gate = residual != null && f == Activation.RELU;
    Saved saved = Saved.empty(m, shape, t, gate);
    norm.forward(x, a, c.eps(), f, residual, saved, y);
    s.statistics(saved);
    s.values("forward", null, y);
    backward(m, t, x, saved, c.statistics().invstd(), "backward", s);

    Running r = running(m, c.running(), true);
    Values.unwritten(y);
    norm.infer(x, r, a, c.eps(), f, residual, y);
    s.values("infer", null, y);
    Saved frozen = Saved.empty(m, shape, t, gate);
    norm.coefficients(r, a, c.eps(), frozen);
    Values.unwritten(y);
    norm.normalize(x, frozen, f, residual, y);
    s.values("coefficients+normalize", null, y);
    backward(m, t, x, frozen, runningInvstd(), "coefficients+backward", s);

    Running moving = running(m, c.start(), false);
    Running average = running(m, c.start(), true);
    norm.commit(List.of(saved, saved), List.of(moving, average));
    s.running("commit moving", NO_MOMENTS, moving);
    for (int k = 1; k < c.batches().length; k++) {
      x.copyFrom(c.batches()[k]);
      norm.forward(x, a, c.eps(), f, residual, saved, y);
      norm.commit(List.of(saved), List.of(average));
      s.running(k == 1 ? "commit cumulative" : "commit population", NO_MOMENTS, average);
    }
  }

  private Running running(Memory m, GoldenVectors.Moments from, boolean cumulative) {
    Shape channels = Shape.of(c.channels());
    return new Running(
        Values.tensor(m, channels, DType.F64, from.mean()),
        Values.tensor(m, channels, DType.F64, from.variance()),
        m.zeros(Shape.of(1), DType.I64),
        cumulative ? null : m.scalar(c.momentum()),
        true);
  }

  private void backward(
      Memory m, DType t, Tensor x, Saved saved, double[] invstd, String verb, Steps s) {
    Tensor dy = Values.tensor(m, shape, t, c.dy());
    Tensor dx = Values.output(m, shape, t);
    Tensor dResidual = c.residual() == null ? null : Values.output(m, shape, t);
    Sums sums = Sums.empty(m, c.channels());
    m.backend().norm().backward(dy, x, saved, f, sums, dx, dResidual);
    Affine g = new Affine(sums.dyXhat(), sums.dy());
    s.gradients(verb, NO_OUTPUTS, invstd, dx, dResidual, g);
  }
}
