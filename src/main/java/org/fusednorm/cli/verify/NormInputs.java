package org.fusednorm.cli.verify;

import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;

/**
 * Data of one shape and everything that verbs take beside it, true to F64 precision: each verb can
 * be given what the verbs before it should have computed.
 */
final class NormInputs {
  static final double EPS = 1e-5;

  /** Nearer to the ReLU's threshold than this no gradient is sent: rounding decides its gate. */
  private static final double MARGIN = 1e-3;

  final Shape shape;
  final double[] x;
  final double[] dy;
  final double[] residual;
  final double[] gamma;
  final double[] beta;
  final double[] runningMean;
  final double[] runningVariance;

  /** Of the batch, and of running statistics taken as constants. */
  final State batch;

  final State frozen;

  /**
   * The channels that hold an infinity. Their results are NaN or infinite: which of them depends on
   * the order in which values are added, which is not prescribed.
   */
  private final BitSet infinite = new BitSet();

  private final Map<SumsKey, double[]> trueSums = new HashMap<>();

  /** Distance of the means from 0 in deviations: each tenfold takes a digit of F64. */
  private final double conditioning;

  /**
   * What a forward keeps.
   *
   * @param count values per channel, 0 for constants
   * @param m2 null for constants
   */
  record State(
      long count,
      double[] mean,
      double[] m2,
      double[] variance,
      double[] invstd,
      Saves f64,
      Saves f32) {
    Saves saves(DType t) {
      return t == DType.F64 ? f64 : f32;
    }
  }

  private record SumsKey(boolean batch, Activation f, boolean add) {}

  /** Coefficients as they are for data of one type. */
  record Saves(double[] center, double[] scale, double[] shift) {}

  NormInputs(Shape shape, double[] x, long seed) {
    this.shape = shape;
    this.x = x;
    int c = Math.toIntExact(shape.channels());
    for (int i = 0; i < x.length; i++) {
      if (Double.isInfinite(x[i])) {
        infinite.set(channel(i));
      }
    }
    residual = Values.coarse(x.length, seed + 1);
    double[] draws = Values.coarse(4L * c, seed + 2);
    gamma = new double[c];
    beta = new double[c];
    runningMean = new double[c];
    runningVariance = new double[c];
    for (int i = 0; i < c; i++) {
      gamma[i] = Math.copySign(0.5 + Math.abs(draws[i]) / 2, draws[i]);
      beta[i] = draws[c + i] / 2 + 1.0 / 128;
    }
    try (Backend reference = Backends.open("reference");
        Scope m = reference.scope()) {
      Tensor data = Values.tensor(m, shape, DType.F64, x);
      Moments moments = Moments.empty(m, c);
      reference.norm().moments(data, moments);
      batch = state(m, moments, null);
      double far = 0;
      for (int i = 0; i < c; i++) {
        double deviation = Math.sqrt(batch.variance[i]);
        runningMean[i] = finite(batch.mean[i] + 0.25 * draws[2 * c + i] * deviation, 0);
        double factor = 1 + draws[3 * c + i] / 4;
        runningVariance[i] = finite(factor * batch.variance[i], 1);
        far = Math.max(far, finite(Math.abs(batch.mean[i]) * batch.invstd[i], 0));
      }
      conditioning = far;
      frozen = state(m, null, running(m));
      dy = gradient(m, data, seed + 3);
    }
  }

  private static double finite(double v, double otherwise) {
    return Double.isFinite(v) ? v : otherwise;
  }

  private State state(Memory m, Moments moments, Running r) {
    Saves[] saves = new Saves[2];
    double[][] statistics = new double[3][];
    for (DType t : List.of(DType.F32, DType.F64)) {
      Saved s = Saved.empty(m, shape, t, false);
      if (r == null) {
        m.backend().norm().coefficients(moments, affine(m, t), EPS, s);
      } else {
        m.backend().norm().coefficients(r, affine(m, t), EPS, s);
      }
      saves[t == DType.F64 ? 1 : 0] =
          new Saves(s.center().toDoubles(), s.scale().toDoubles(), s.shift().toDoubles());
      statistics[0] = s.mean().toDoubles();
      statistics[1] = s.variance().toDoubles();
      statistics[2] = s.invstd().toDoubles();
    }
    return new State(
        r == null ? shape.valuesPerChannel() : 0,
        statistics[0],
        r == null ? moments.m2().toDoubles() : null,
        statistics[1],
        statistics[2],
        saves[1],
        saves[0]);
  }

  /** Random, but 0 where one of the programs has a value near the threshold of its ReLU. */
  private double[] gradient(Memory m, Tensor data, long seed) {
    double[] g = Values.coarse(x.length, seed);
    for (State s : List.of(batch, frozen)) {
      for (double[] add : new double[][] {null, residual}) {
        Tensor v = m.empty(shape, DType.F64);
        Tensor r = Values.tensor(m, shape, DType.F64, add);
        m.backend().norm().normalize(data, saved(m, DType.F64, s, false), Activation.NONE, r, v);
        double[] before = v.toDoubles();
        for (int i = 0; i < g.length; i++) {
          if (Math.abs(before[i]) < MARGIN) {
            g[i] = 0;
          }
        }
      }
    }
    return g;
  }

  Affine affine(Memory m, DType data) {
    Shape c = Shape.of(gamma.length);
    DType t = data.parameter();
    return new Affine(Values.tensor(m, c, t, gamma), Values.tensor(m, c, t, beta));
  }

  Running running(Memory m) {
    Shape c = Shape.of(gamma.length);
    return new Running(
        Values.tensor(m, c, DType.F64, runningMean),
        Values.tensor(m, c, DType.F64, runningVariance),
        m.zeros(Shape.of(1), DType.I64),
        null,
        true);
  }

  /** What the forward of a true engine keeps for data of type {@code t}. */
  Saved saved(Memory m, DType t, State of, boolean gate) {
    Saved s = Saved.empty(m, shape, t, gate);
    fill(s, t, of);
    return s;
  }

  /** Sets everything but the gate, whose layout is the engine's own. */
  void fill(Saved s, DType t, State of) {
    s.count().copyFrom(of.count);
    s.mean().copyFrom(of.mean);
    s.variance().copyFrom(of.variance);
    s.invstd().copyFrom(of.invstd);
    s.center().copyFrom(of.saves(t).center);
    s.scale().copyFrom(of.saves(t).scale);
    s.shift().copyFrom(of.saves(t).shift);
  }

  /** The sums that a true engine gets. */
  Sums sums(Memory m, State of, Activation f, boolean add) {
    Sums sums = Sums.empty(m, gamma.length);
    SumsKey key = new SumsKey(of == batch, f, add);
    sums.packed().copyFrom(trueSums.computeIfAbsent(key, k -> computeSums(of, f, add)));
    return sums;
  }

  private double[] computeSums(State of, Activation f, boolean add) {
    try (Backend reference = Backends.open("reference");
        Scope m = reference.scope()) {
      boolean gate = add && f == Activation.RELU;
      Saved s = saved(m, DType.F64, of, gate);
      Tensor data = Values.tensor(m, shape, DType.F64, x);
      if (gate) {
        Tensor r = Values.tensor(m, shape, DType.F64, residual);
        reference.norm().normalize(data, s, f, r, m.empty(shape, DType.F64));
      }
      Sums truth = Sums.empty(m, gamma.length);
      Tensor g = Values.tensor(m, shape, DType.F64, dy);
      reference.norm().gradientSums(g, data, s, f, truth);
      return truth.packed().toDoubles();
    }
  }

  private int channel(int index) {
    return (int) (index / shape.inner() % shape.channels());
  }

  /** Means, whose errors matter beside the deviation of their channel. */
  Tolerance means() {
    double[] invstd = batch.invstd;
    return new Tolerance(1e-6, 1e-13 + far(), (i, expected) -> 1 / invstd[i]).open(infinite::get);
  }

  /** Variances and what is proportional to them. */
  Tolerance spreads(double factor) {
    return new Tolerance(1e-6, 1e-13 + far(), (i, expected) -> Math.abs(expected) + factor * EPS)
        .open(infinite::get);
  }

  /** Results per element: 2e-6 is what one pass in F32 may cost, in training and inference. */
  Tolerance values() {
    return Tolerance.ofValues(2e-6, 1e-13 + far()).open(i -> infinite.get(channel(i)));
  }

  /** Input gradients, which are proportional to gamma invstd. */
  Tolerance gradients(State of) {
    double[] a = of.f64.scale;
    return new Tolerance(
            2e-6, 1e-13 + far(), (i, expected) -> 2 * Math.abs(a[channel(i)]) + Math.abs(expected))
        .open(i -> infinite.get(channel(i)));
  }

  /** Sums of as many terms of about 1 as a channel has values. */
  Tolerance sums() {
    double terms = Math.max(1, shape.valuesPerChannel());
    return new Tolerance(1e-6, 1e-13 + far(), (i, expected) -> terms).open(infinite::get);
  }

  private double far() {
    return conditioning * 0x1p-48;
  }
}
