package org.fusednorm.cli.verify;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.DType;
import org.fusednorm.Memory;
import org.fusednorm.Moments;
import org.fusednorm.NormOps;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;

/** The verbs of normalization that read data, with and without ReLU and residual. */
final class NormProblem implements Problem {
  private final String name;
  private final List<DType> types;
  private final NormInputs in;

  NormProblem(String name, List<DType> types, NormInputs in) {
    this.name = name;
    this.types = types;
    this.in = in;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public List<DType> types() {
    return types;
  }

  @Override
  public boolean needsMath() {
    return false;
  }

  @Override
  public void run(Memory m, DType t, Results out) {
    moments(m, t, out);
    for (Activation f : Activation.values()) {
      for (boolean add : new boolean[] {false, true}) {
        Variant v = new Variant(m, t, f, add, out);
        v.fused();
        v.parts();
        v.constants();
      }
    }
  }

  private void moments(Memory m, DType t, Results out) {
    Moments moments = Moments.empty(m, in.shape.channels());
    Values.unwritten(moments.packed());
    m.backend().norm().moments(Values.tensor(m, in.shape, t, in.x), moments);
    out.add("moments", "count", moments.count(), Tolerance.ROUNDED);
    out.add("moments", "mean", moments.mean(), in.means());
    double count = Math.max(1, in.shape.valuesPerChannel());
    out.add("moments", "M2", moments.m2(), in.spreads(count));
  }

  /** One choice of activation and residual. */
  private final class Variant {
    private final Memory m;
    private final NormOps norm;
    private final DType t;
    private final Activation f;
    private final boolean gate;
    private final String suffix;
    private final Results out;
    private final Tensor x;
    private final Tensor dy;
    private final Tensor residual;
    private final Tensor y;
    private final Tensor dx;
    private final Tensor dResidual;

    Variant(Memory m, DType t, Activation f, boolean add, Results out) {
      this.m = m;
      this.t = t;
      this.f = f;
      this.out = out;
      norm = m.backend().norm();
      gate = add && f == Activation.RELU;
      suffix = (add ? "+add" : "") + (f == Activation.RELU ? "+relu" : "");
      x = Values.tensor(m, in.shape, t, in.x);
      dy = Values.tensor(m, in.shape, t, in.dy);
      residual = add ? Values.tensor(m, in.shape, t, in.residual) : null;
      y = m.empty(in.shape, t);
      dx = m.empty(in.shape, t);
      dResidual = add ? m.empty(in.shape, t) : null;
    }

    private Sums emptySums() {
      Sums s = Sums.empty(m, in.shape.channels());
      Values.unwritten(s.packed());
      return s;
    }

    private Sums trueSums(NormInputs.State of) {
      return in.sums(m, of, f, residual != null);
    }

    private void addY(String verb) {
      out.add(verb + suffix, "y", y, in.values());
    }

    private void addSums(String verb, Sums sums) {
      out.add(verb + suffix, "sum dy", sums.dy(), in.sums());
      out.add(verb + suffix, "sum dy xhat", sums.dyXhat(), in.sums());
    }

    private void addGradients(String verb, NormInputs.State of) {
      out.add(verb + suffix, "dx", dx, in.gradients(of));
      if (dResidual != null) {
        out.add(verb + suffix, "dresidual", dResidual, Tolerance.ROUNDED);
      }
    }

    private void clearGradients() {
      Values.unwritten(dx);
      if (dResidual != null) {
        Values.unwritten(dResidual);
      }
    }

    void fused() {
      Saved saved = Saved.empty(m, in.shape, t, gate);
      Values.unwritten(y);
      norm.forward(x, in.affine(m, t), NormInputs.EPS, f, residual, saved, y);
      addY("forward");
      out.add("forward" + suffix, "mean", saved.mean(), in.means());
      out.add("forward" + suffix, "variance", saved.variance(), in.spreads(1));
      out.add("forward" + suffix, "invstd", saved.invstd(), in.spreads(0));
      // From here on the true numbers, but for the gate.
      in.fill(saved, t, in.batch);
      backward("backward", in.batch, saved);
      if (residual == null) {
        Sums sums = emptySums();
        dx.copyFrom(dy);
        norm.backward(dx, x, saved, f, sums, dx, null);
        addGradients("backward in place", in.batch);
      }
    }

    private void backward(String verb, NormInputs.State of, Saved saved) {
      Sums sums = emptySums();
      clearGradients();
      norm.backward(dy, x, saved, f, sums, dx, dResidual);
      addSums(verb, sums);
      addGradients(verb, of);
    }

    void parts() {
      Saved saved = in.saved(m, t, in.batch, gate);
      Values.unwritten(y);
      norm.normalize(x, saved, f, residual, y);
      addY("normalize");
      Sums sums = emptySums();
      norm.gradientSums(dy, x, saved, f, sums);
      addSums("gradientSums", sums);
      clearGradients();
      norm.inputGradient(dy, x, saved, trueSums(in.batch), f, dx, dResidual);
      addGradients("inputGradient", in.batch);
    }

    /** Running statistics, taken as constants. */
    void constants() {
      Values.unwritten(y);
      norm.infer(x, in.running(m), in.affine(m, t), NormInputs.EPS, f, residual, y);
      addY("infer");
      y.copyFrom(x);
      norm.infer(y, in.running(m), in.affine(m, t), NormInputs.EPS, f, residual, y);
      addY("infer in place");
      Saved frozen = in.saved(m, t, in.frozen, gate);
      if (gate) {
        norm.normalize(x, frozen, f, residual, y);
      }
      backward("frozen backward", in.frozen, frozen);
    }
  }

  /** Shapes large enough for the work on a channel or a row to be split between threads. */
  static List<Shape> largeShapes() {
    return List.of(
        Shape.nc(3000, 33),
        Shape.nc(40, 2100),
        Shape.nchw(3, 2, 211, 199),
        Shape.nchw(1, 1, 777, 333),
        Shape.nchw(100, 3, 40, 41),
        Shape.nhwc(9, 30, 31, 17));
  }

  /** Shapes that meet every layout, tails of vectors, single channels and many of them. */
  static List<Shape> shapes(boolean quick) {
    if (quick) {
      return List.of(Shape.nc(5, 3), Shape.nchw(2, 3, 3, 3), Shape.nhwc(2, 3, 3, 5));
    }
    List<Shape> shapes = new ArrayList<>();
    for (long c : new long[] {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 129, 1024}) {
      shapes.add(Shape.nc(7, c));
    }
    for (long l : new long[] {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 129, 1023}) {
      shapes.add(Shape.ncl(3, 2, l));
    }
    shapes.addAll(
        List.of(
            Shape.nc(2, 1),
            Shape.nc(60, 100),
            Shape.nc(1025, 33),
            Shape.nchw(0, 3, 4, 4),
            Shape.nchw(1, 4, 9, 31),
            Shape.nchw(4, 16, 7, 7),
            Shape.nchw(2, 1, 28, 28),
            Shape.nchw(2, 64, 14, 14),
            Shape.nchw(1, 8, 56, 56),
            Shape.nchw(2, 512, 7, 7),
            Shape.ncdhw(2, 3, 4, 5, 6),
            Shape.nlc(4, 5, 3),
            Shape.nhwc(0, 4, 4, 3),
            Shape.nhwc(4, 7, 7, 16),
            Shape.nhwc(2, 28, 28, 1),
            Shape.nhwc(2, 14, 14, 64),
            Shape.nhwc(1, 56, 56, 8),
            Shape.nhwc(1, 7, 7, 512),
            Shape.nhwc(3, 5, 13, 17),
            Shape.ndhwc(2, 4, 5, 6, 3)));
    return shapes;
  }
}
