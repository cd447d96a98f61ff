package org.fusednorm;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.fusednorm.testing.Values.threshold;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.testing.EachBackend;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every backend against the reference: shapes x types x activation x residual. The reference itself
 * too: its parts must agree with its fused verbs.
 */
class NormContractTest {
  private static final List<Shape> SHAPES =
      List.of(
          Shape.nc(2, 1),
          Shape.nc(7, 3),
          Shape.nc(5, 17),
          Shape.nc(60, 100),
          Shape.nc(301, 257),
          Shape.ncl(3, 5, 7),
          Shape.nchw(2, 3, 1, 1),
          Shape.nchw(4, 16, 7, 7),
          Shape.nchw(3, 5, 14, 14),
          Shape.nchw(2, 8, 28, 28),
          Shape.nchw(2, 3, 64, 65),
          Shape.nchw(70, 2, 3, 11),
          Shape.ncdhw(2, 3, 2, 3, 4),
          Shape.nlc(3, 7, 5),
          Shape.nhwc(2, 5, 7, 3),
          Shape.nhwc(3, 8, 8, 64),
          Shape.nhwc(1, 16, 16, 130),
          Shape.nhwc(2, 65, 63, 1),
          Shape.ndhwc(2, 2, 3, 2, 5));

  /** Large enough for the work on a channel or a row to be split between threads. */
  private static final List<Shape> LARGE_SHAPES =
      List.of(
          Shape.nc(3000, 33),
          Shape.nc(40, 2100),
          Shape.nchw(3, 2, 211, 199),
          Shape.nchw(1, 1, 777, 333),
          Shape.nchw(100, 3, 40, 41),
          Shape.nhwc(9, 30, 31, 17));

  record Case(String backend, DType dtype, Shape shape, Activation activation, boolean residual) {}

  static List<Case> cases() {
    List<Case> cases = new ArrayList<>();
    for (String name : EachBackend.list()) {
      for (boolean residual : new boolean[] {false, true}) {
        for (DType t : List.of(DType.F32, DType.F16, DType.BF16, DType.F64)) {
          for (Shape s : SHAPES) {
            for (Activation f : Activation.values()) {
              cases.add(new Case(name, t, s, f, residual));
            }
          }
        }
        for (DType t : List.of(DType.F32, DType.F64)) {
          for (Shape s : LARGE_SHAPES) {
            cases.add(new Case(name, t, s, Activation.RELU, residual));
          }
        }
      }
    }
    return cases;
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithTheReference(Case c) {
    Map<String, double[]> expected = outputs("reference", c);
    Map<String, double[]> actual = outputs(c.backend(), c);
    expected.forEach(
        (what, values) -> {
          boolean statistics = what.startsWith("F64 ");
          double limit = statistics ? statisticsThreshold(c.dtype()) : threshold(c.dtype());
          assertClose(what + " " + c, values, actual.get(what), limit);
        });
  }

  /** F64 results carry the error of the F32 lanes that they were summed in. */
  private static double statisticsThreshold(DType t) {
    return t == DType.F64 ? 1e-12 : 2e-6;
  }

  /** Everything that one training step, an inference and the split primitives give. */
  private static Map<String, double[]> outputs(String backend, Case c) {
    Map<String, double[]> out = new LinkedHashMap<>();
    int n = (int) c.shape().elements();
    int channels = (int) c.shape().channels();
    DType t = c.dtype();
    DType p = t.parameter();
    try (Backend b = Backends.open(backend);
        Scope m = b.scope();
        BatchNorm bn =
            BatchNorm.builder(m, channels)
                .dtype(t)
                .activation(c.activation())
                .residual(c.residual())
                .momentum(0.3)
                .build()) {
      Tensor x = tensor(m, c.shape(), t, normal(t, 1, n, 0.5, 1.5));
      Tensor dy = tensor(m, c.shape(), t, normal(t, 2, n, 0.1, 1));
      Tensor residual = c.residual() ? tensor(m, c.shape(), t, normal(t, 3, n, 0, 1)) : null;
      Tensor dResidual = c.residual() ? m.empty(c.shape(), t) : null;
      Tensor y = m.empty(c.shape(), t);
      Tensor dx = m.empty(c.shape(), t);
      bn.affine().gamma().copyFrom(normal(p, 4, channels, 1, 0.3));
      bn.affine().beta().copyFrom(normal(p, 5, channels, 0, 0.5));
      Pass pass = bn.pass(m, c.shape(), t);

      bn.forward(pass, x, residual, y);
      out.put("y", y.toDoubles());
      out.put("F64 mean", pass.saved().mean().toDoubles());
      out.put("F64 variance", pass.saved().variance().toDoubles());
      out.put("count", pass.saved().count().toDoubles());
      out.put("F64 running mean", bn.running().mean().toDoubles());
      out.put("F64 running variance", bn.running().variance().toDoubles());
      Tensor again = m.empty(c.shape(), t);
      bn.recompute(pass, again);
      assertClose("recomputed y " + c, out.get("y"), again.toDoubles(), 0);

      bn.backward(pass, pass.generation(), dy, dx, dResidual, Write.SET);
      out.put("dx", dx.toDoubles());
      double scale = Math.max(1, c.shape().valuesPerChannel());
      out.put("F64 dgamma", scaled(pass.sums().dyXhat().toDoubles(), scale));
      out.put("F64 dbeta", scaled(pass.sums().dy().toDoubles(), scale));
      if (c.residual()) {
        out.put("dResidual", dResidual.toDoubles());
      }

      bn.infer(x, residual, y);
      out.put("inferred y", y.toDoubles());
      bn.freeze(true);
      bn.forward(pass, x, residual, y);
      assertClose("frozen forward " + c, out.get("inferred y"), y.toDoubles(), 0);
      bn.backward(pass, pass.generation(), dy, dx, dResidual, Write.SET);
      out.put("frozen dx", dx.toDoubles());
      split(m, c, bn, x, residual, dy, out);
    }
    return out;
  }

  /** The batch in two parts, as two ranks of a distributed training would have it. */
  private static void split(
      Scope m,
      Case c,
      BatchNorm bn,
      Tensor x,
      Tensor residual,
      Tensor dy,
      Map<String, double[]> out) {
    NormOps norm = m.backend().norm();
    long channels = c.shape().channels();
    long cut = c.shape().batch() / 3;
    long[] from = {0, cut};
    long[] to = {cut, c.shape().batch()};
    Tensor gathered = m.empty(Shape.of(2, 1 + 2 * channels), DType.F64);
    for (int i = 0; i < 2; i++) {
      Tensor part = gathered.batch(i, i + 1).as(Shape.of(1 + 2 * channels));
      norm.moments(x.batch(from[i], to[i]), Moments.of(part));
    }
    Moments all = Moments.empty(m, channels);
    norm.merge(gathered, 2, all);
    boolean gate = c.residual() && c.activation() == Activation.RELU;
    Tensor y = m.empty(c.shape(), c.dtype());
    Tensor dx = m.empty(c.shape(), c.dtype());
    Tensor sums = m.empty(Shape.of(2, 2 * channels), DType.F64);
    Saved[] saved = new Saved[2];
    for (int i = 0; i < 2; i++) {
      Tensor xi = x.batch(from[i], to[i]);
      saved[i] = Saved.empty(m, xi.shape(), c.dtype(), gate);
      norm.coefficients(all, bn.affine(), bn.eps(), saved[i]);
      Tensor ri = residual == null ? null : residual.batch(from[i], to[i]);
      norm.normalize(xi, saved[i], c.activation(), ri, y.batch(from[i], to[i]));
      Sums part = Sums.of(sums.batch(i, i + 1).as(Shape.of(2 * channels)));
      norm.gradientSums(dy.batch(from[i], to[i]), xi, saved[i], c.activation(), part);
    }
    Sums total = Sums.empty(m, channels);
    norm.merge(sums, 2, total);
    for (int i = 0; i < 2; i++) {
      norm.inputGradient(
          dy.batch(from[i], to[i]),
          x.batch(from[i], to[i]),
          saved[i],
          total,
          c.activation(),
          dx.batch(from[i], to[i]),
          null);
    }
    assertClose("split y " + c, out.get("y"), y.toDoubles(), 2 * threshold(c.dtype()));
    assertClose("split dx " + c, out.get("dx"), dx.toDoubles(), 2 * threshold(c.dtype()));
  }

  private static double[] scaled(double[] v, double by) {
    for (int i = 0; i < v.length; i++) {
      v[i] /= by;
    }
    return v;
  }
}
