package org.fusednorm.cpu;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.threshold;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.testing.Values;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Random shapes, types, offsets, activations and thread counts on the kernels of every instruction
 * set, against the reference. {@code -Dfusednorm.differential=N} takes N seeds instead of a few.
 */
class DifferentialTest {
  private static final int CASES = Integer.getInteger("fusednorm.differential", 150);

  /** Values nearer to 0 than this may be gated one way or the other: they get no gradient. */
  private static final double NEAR_GATE = 1e-3;

  /** With fewer values per channel, gradients may cancel down to what was rounded away. */
  private static final int FEWEST_VALUES = 8;

  record Case(
      int seed,
      Shape shape,
      DType dtype,
      Activation activation,
      boolean residual,
      boolean gate,
      int threads,
      double mean) {}

  static IntStream seeds() {
    return IntStream.range(0, CASES);
  }

  /** Small numbers as often as large ones. */
  private static long size(SplittableRandom r, long most) {
    return (long) Math.exp(r.nextDouble() * Math.log(most + 0.99));
  }

  private static Case of(int seed) {
    SplittableRandom r = new SplittableRandom(seed);
    long most = 1 << (6 + r.nextInt(12));
    long channels = size(r, Math.min(most / 2, 2500));
    long values = Math.max(FEWEST_VALUES, most / channels);
    Shape shape =
        switch (r.nextInt(4)) {
          case 0 -> Shape.nc(values, channels);
          case 1 -> Shape.nhwc(size(r, 4), Math.max(FEWEST_VALUES, size(r, values)), 1, channels);
          default -> {
            long inner = Math.max(2, size(r, values));
            long batch = Math.max((FEWEST_VALUES - 1) / inner + 1, values / inner);
            yield Shape.ncl(batch, channels, inner);
          }
        };
    boolean residual = r.nextBoolean();
    Activation f = r.nextInt(3) == 0 ? Activation.NONE : Activation.RELU;
    return new Case(
        seed,
        shape,
        List.of(DType.F32, DType.BF16, DType.F16).get(r.nextInt(3)),
        f,
        residual,
        residual || r.nextBoolean(),
        1 + r.nextInt(3),
        r.nextInt(4) == 0 ? 100 : 0.5);
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void agreesWithTheReference(int seed) {
    Case c = of(seed);
    Map<String, double[]> expected;
    double[] gradient;
    try (Backend b = Backends.open("reference")) {
      gradient = gradient(b, c);
      expected = outputs(b, c, gradient);
    }
    InstructionSets.andPlainJava()
        .forEach(
            isa -> {
              try (Backend b = TestBackends.over(new CpuEngine(c.threads(), isa))) {
                compare(isa + " " + c, c, expected, outputs(b, c, gradient));
              }
            });
  }

  private static void compare(
      String what, Case c, Map<String, double[]> expected, Map<String, double[]> actual) {
    expected.forEach(
        (name, values) -> {
          // A mean of 100 costs two digits of x in F16 and BF16, but none of what is computed.
          double limit = name.startsWith("F64") ? 4e-6 : 2 * threshold(c.dtype());
          assertClose(name + " of " + what, values, actual.get(name), limit);
        });
  }

  /** Tensors with these values, each at an offset of its own. */
  private static final class Inputs {
    private final Scope memory;
    private final Case c;
    private final SplittableRandom offsets;

    Inputs(Scope memory, Case c) {
      this.memory = memory;
      this.c = c;
      offsets = new SplittableRandom(~c.seed());
    }

    Tensor empty() {
      long n = c.shape().elements();
      long offset = offsets.nextInt(3) == 0 ? 0 : offsets.nextInt(40);
      return memory.empty(Shape.of(n + offset), c.dtype()).batch(offset, offset + n).as(c.shape());
    }

    Tensor of(double[] v) {
      return empty().copyFrom(v);
    }

    Tensor normal(long seed, double mean, double std) {
      int n = (int) c.shape().elements();
      return of(Values.normal(c.dtype(), c.seed() * 7L + seed, n, mean, std));
    }

    Affine affine() {
      int channels = (int) c.shape().channels();
      Shape s = Shape.of(channels);
      DType p = c.dtype().parameter();
      return new Affine(
          memory.empty(s, p).copyFrom(Values.normal(p, 4, channels, 1, 0.3)),
          memory.empty(s, p).copyFrom(Values.normal(p, 5, channels, 0, 0.5)));
    }
  }

  /** A gradient that is 0 wherever rounding could open or close the gate. */
  private static double[] gradient(Backend b, Case c) {
    int n = (int) c.shape().elements();
    double[] dy = Values.normal(c.dtype(), c.seed() * 7L + 2, n, 0.1, 1);
    try (Scope m = b.scope()) {
      Inputs in = new Inputs(m, c);
      Tensor v = m.empty(c.shape(), c.dtype());
      Saved saved = Saved.empty(m, c.shape(), c.dtype(), false);
      Tensor residual = c.residual() ? in.normal(3, 0, 1) : null;
      b.norm()
          .forward(
              in.normal(1, c.mean(), 1.5), in.affine(), 1e-5, Activation.NONE, residual, saved, v);
      double[] values = v.toDoubles();
      for (int i = 0; i < n; i++) {
        if (Math.abs(values[i]) < NEAR_GATE) {
          dy[i] = 0;
        }
      }
    }
    return dy;
  }

  private static Map<String, double[]> outputs(Backend b, Case c, double[] gradient) {
    Map<String, double[]> out = new LinkedHashMap<>();
    long channels = c.shape().channels();
    double count = c.shape().valuesPerChannel();
    try (Scope m = b.scope()) {
      Inputs in = new Inputs(m, c);
      Tensor x = in.normal(1, c.mean(), 1.5);
      Tensor dy = in.of(gradient);
      Tensor residual = c.residual() ? in.normal(3, 0, 1) : null;
      Tensor y = in.empty();
      Tensor dResidual = c.residual() ? in.empty() : null;
      Affine a = in.affine();
      Saved saved = Saved.empty(m, c.shape(), c.dtype(), c.gate());
      Sums sums = Sums.empty(m, channels);
      b.norm().forward(x, a, 1e-5, c.activation(), residual, saved, y);
      out.put("y", y.toDoubles());
      out.put("F64 mean", saved.mean().toDoubles());
      out.put("F64 variance", saved.variance().toDoubles());
      // In place: dx over dy where the gated dy is wanted too, else over x.
      Tensor dx = c.residual() ? dy : x;
      Tensor x2 = c.residual() ? x : in.normal(1, c.mean(), 1.5);
      b.norm().backward(dy, x, saved, c.activation(), sums, dx, dResidual);
      out.put("dx", dx.toDoubles());
      out.put("F64 dbeta", scaled(sums.dy().toDoubles(), count));
      out.put("F64 dgamma", scaled(sums.dyXhat().toDoubles(), count));
      if (c.residual()) {
        out.put("dResidual", dResidual.toDoubles());
      }
      Running running =
          new Running(saved.mean(), saved.variance(), m.zeros(Shape.of(1), DType.I64), null, true);
      b.norm().infer(x2, running, a, 1e-5, c.activation(), residual, x2);
      out.put("inferred over x", x2.toDoubles());
    }
    return out;
  }

  private static double[] scaled(double[] v, double by) {
    for (int i = 0; i < v.length; i++) {
      v[i] /= by;
    }
    return v;
  }
}
