package org.fusednorm.cli.verify;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Moments;
import org.fusednorm.NormOps;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** The verbs of normalization that work on per-channel numbers only. */
final class ChannelProblem implements Problem {
  /** F64 arithmetic of a few operations, for every type of data. */
  private static final Tolerance F64 = Tolerance.ofValues(1e-14, 1e-14);

  private static final double[] COUNTS = {5, 0, 1, 1000};

  private final int channels;

  ChannelProblem(int channels) {
    this.channels = channels;
  }

  @Override
  public String name() {
    return Shape.of(channels).toString();
  }

  @Override
  public List<DType> types() {
    return List.of(DType.F32, DType.F64);
  }

  @Override
  public boolean needsMath() {
    return false;
  }

  @Override
  public void run(Memory m, DType t, Results out) {
    NormOps norm = m.backend().norm();
    merge(m, norm, out);
    coefficients(m, norm, t, out);
    gradients(m, norm, t, out);
    commit(m, norm, t, out);
  }

  private double[] values(long seed) {
    return Values.fine(channels, 1000L * channels + seed);
  }

  private double[] positive(long seed) {
    double[] v = values(seed);
    for (int i = 0; i < v.length; i++) {
      v[i] = 1.5 + v[i];
    }
    return v;
  }

  private Tensor f64(Memory m, double[] v) {
    return Values.tensor(m, Shape.of(v.length), DType.F64, v);
  }

  private double[] packed(double count, long seed) {
    double[] p = new double[1 + 2 * channels];
    p[0] = count;
    if (count > 0) {
      System.arraycopy(values(seed), 0, p, 1, channels);
    }
    if (count > 1) {
      double[] spread = positive(seed + 1);
      for (int i = 0; i < channels; i++) {
        p[1 + channels + i] = count * spread[i];
      }
    }
    return p;
  }

  private void merge(Memory m, NormOps norm, Results out) {
    int parts = COUNTS.length;
    Tensor gathered = m.empty(Shape.of(parts, 1 + 2L * channels), DType.F64);
    Tensor sums = m.empty(Shape.of(parts, 2L * channels), DType.F64);
    for (int p = 0; p < parts; p++) {
      gathered.batch(p, p + 1).copyFrom(packed(COUNTS[p], 10L * p));
      sums.batch(p, p + 1).copyFrom(Values.fine(2L * channels, 100 + p));
    }
    Moments moments = Moments.empty(m, channels);
    Values.unwritten(moments.packed());
    norm.merge(gathered, parts, moments);
    out.add("merge moments", "count", moments.count(), Tolerance.ROUNDED);
    out.add("merge moments", "mean", moments.mean(), F64);
    out.add("merge moments", "M2", moments.m2(), F64);
    Sums total = Sums.empty(m, channels);
    Values.unwritten(total.packed());
    norm.merge(sums, parts, total);
    out.add("merge sums", "sums", total.packed(), F64);
  }

  private Affine affine(Memory m, DType t, long seed) {
    Shape c = Shape.of(channels);
    return new Affine(
        Values.tensor(m, c, t, values(seed)), Values.tensor(m, c, t, values(seed + 1)));
  }

  private Running running(Memory m, long batches, Scalar momentum, boolean unbiased) {
    Tensor count = m.empty(Shape.of(1), DType.I64).copyFrom(batches);
    return new Running(f64(m, values(50)), f64(m, positive(51)), count, momentum, unbiased);
  }

  private void coefficients(Memory m, NormOps norm, DType t, Results out) {
    Affine a = affine(m, t, 60);
    Saved s = Saved.empty(m, Shape.nc(2, channels), t, false);
    norm.coefficients(Moments.of(f64(m, packed(1000, 62))), a, 1e-3, s);
    saved("coefficients of moments", s, out);
    norm.coefficients(running(m, 1, null, true), a, 1e-3, s);
    saved("coefficients of running", s, out);
    norm.coefficients(running(m, 1, null, true), Affine.NONE, 1e-3, s);
    saved("coefficients, no affine", s, out);
  }

  private static void saved(String verb, Saved s, Results out) {
    out.add(verb, "count", s.count(), Tolerance.ROUNDED);
    out.add(verb, "mean", s.mean(), F64);
    out.add(verb, "variance", s.variance(), F64);
    out.add(verb, "invstd", s.invstd(), F64);
    out.add(verb, "center", s.center(), Tolerance.ROUNDED);
    out.add(verb, "scale", s.scale(), Tolerance.ofValues(1e-14, 1e-14));
    // The shift makes good what rounding takes from the center, so they are judged together.
    double[] mean = s.mean().toDoubles();
    double[] center = s.center().toDoubles();
    double[] scale = s.scale().toDoubles();
    double[] shift = s.shift().toDoubles();
    for (int i = 0; i < shift.length; i++) {
      shift[i] += (mean[i] - center[i]) * scale[i];
    }
    out.add(verb, "shift", s.shift().dtype(), shift, F64);
  }

  private void gradients(Memory m, NormOps norm, DType t, Results out) {
    Affine g = affine(m, t, 70);
    Sums sums = Sums.of(f64(m, Values.fine(2L * channels, 72)));
    norm.gradients(sums, g, Write.ADD);
    out.add("gradients added", "dgamma", g.gamma(), F64);
    out.add("gradients added", "dbeta", g.beta(), F64);
    norm.gradients(sums, g, Write.SET);
    out.add("gradients", "dgamma", g.gamma(), Tolerance.ROUNDED);
    out.add("gradients", "dbeta", g.beta(), Tolerance.ROUNDED);
  }

  private void commit(Memory m, NormOps norm, DType t, Results out) {
    Saved s = Saved.empty(m, Shape.nc(2, channels), t, false);
    s.mean().copyFrom(values(80));
    s.variance().copyFrom(positive(81));
    s.count().copyFrom(4L);
    Saved single = Saved.empty(m, Shape.nc(1, channels), t, false);
    single.count().copyFrom(1L);
    List<Running> all = new ArrayList<>();
    all.add(running(m, 0, m.scalar(0.125), true));
    all.add(running(m, 3, null, true));
    all.add(running(m, 3, m.scalar(0.125), false));
    all.add(running(m, 7, null, true));
    norm.commit(List.of(s, s, s, single), all);
    List<String> names = List.of("moving", "cumulative", "biased", "single value");
    for (int i = 0; i < names.size(); i++) {
      String verb = "commit " + names.get(i);
      out.add(verb, "count", all.get(i).count(), Tolerance.ROUNDED);
      out.add(verb, "mean", all.get(i).mean(), F64);
      out.add(verb, "variance", all.get(i).variance(), F64);
    }
  }
}
