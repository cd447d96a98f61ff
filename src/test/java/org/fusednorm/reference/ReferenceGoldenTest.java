package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.cli.GoldenVectors;
import org.fusednorm.cli.GoldenVectors.Case;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every verb of normalization against numbers computed elsewhere, in every type that holds them.
 */
class ReferenceGoldenTest {
  private final Backend b = Backends.open("reference");

  @AfterEach
  void close() {
    b.close();
  }

  static List<Arguments> cases() {
    List<Arguments> all = new ArrayList<>();
    for (Case c : GoldenVectors.load()) {
      for (DType t : c.exactIn()) {
        all.add(Arguments.of(c, t));
      }
    }
    return all;
  }

  @ParameterizedTest
  @MethodSource("cases")
  void training(Case c, DType t) {
    Fixture f = new Fixture(c, t);
    Tensor y = b.empty(f.shape, t);
    b.norm().forward(f.x, f.affine, c.eps(), f.activation, f.residual, f.saved, y);
    // What is F64 for every type of data is as good as for F64 data.
    f.compare("mean", c.statistics().mean(), f.saved.mean());
    f.compare("variance", c.statistics().variance(), f.saved.variance());
    f.compare("invstd", c.statistics().invstd(), f.saved.invstd());
    f.compare("y", c.training().y(), y);
    f.backward(c.training());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void inferenceAndItsGradients(Case c, DType t) {
    Fixture f = new Fixture(c, t);
    Running r =
        Data.running(b, c.running().mean(), c.running().variance(), b.scalar(c.momentum()), true);
    Tensor y = b.empty(f.shape, t);
    b.norm().infer(f.x, r, f.affine, c.eps(), f.activation, f.residual, y);
    f.compare("inferred y", c.inference().y(), y);
    b.norm().coefficients(r, f.affine, c.eps(), f.saved);
    b.norm().normalize(f.x, f.saved, f.activation, f.residual, y);
    f.compare("y", c.inference().y(), y);
    f.backward(c.inference());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void runningStatistics(Case c, DType t) {
    Fixture f = new Fixture(c, t);
    Scalar momentum = b.scalar(c.momentum());
    Running moving = Data.running(b, c.start().mean(), c.start().variance(), momentum, true);
    Running average = Data.running(b, c.start().mean(), c.start().variance(), null, true);
    Tensor y = b.empty(f.shape, t);
    for (int k = 0; k < c.batches().length; k++) {
      f.x.copyFrom(c.batches()[k]);
      b.norm().forward(f.x, f.affine, c.eps(), f.activation, f.residual, f.saved, y);
      b.norm().commit(List.of(f.saved), List.of(average));
      assertEquals(k + 1, average.count().toLongs()[0]);
      if (k == 0) {
        b.norm().commit(List.of(f.saved), List.of(moving));
        f.compare("running mean", c.running().mean(), moving.mean());
        f.compare("running variance", c.running().variance(), moving.variance());
      } else {
        GoldenVectors.Moments expected = k == 1 ? c.cumulative() : c.population();
        f.compare("mean of " + (k + 1), expected.mean(), average.mean());
        f.compare("variance of " + (k + 1), expected.variance(), average.variance());
      }
    }
  }

  /** The tensors of a case, and what may be lost in its type. */
  private final class Fixture {
    final Case c;
    final DType type;
    final Shape shape;
    final Tensor x;
    final Tensor residual;
    final Affine affine;
    final Activation activation;
    final Saved saved;

    Fixture(Case c, DType type) {
      this.c = c;
      this.type = type;
      shape = shape(c);
      x = tensor(shape, type, c.x());
      residual = tensor(shape, type, c.residual());
      Shape channels = Shape.of(c.channels());
      affine =
          new Affine(
              tensor(channels, type.parameter(), c.gamma()),
              tensor(channels, type.parameter(), c.beta()));
      activation = Activation.valueOf(c.activation());
      saved = Saved.empty(b, shape, type, residual != null && activation == Activation.RELU);
    }

    void backward(GoldenVectors.Outputs expected) {
      Tensor dy = tensor(shape, type, c.dy());
      Tensor dx = b.empty(shape, type);
      Tensor dResidual = residual == null ? null : b.empty(shape, type);
      Sums sums = Sums.empty(b, c.channels());
      b.norm().backward(dy, x, saved, activation, sums, dx, dResidual);
      Shape channels = Shape.of(c.channels());
      Affine gradients =
          new Affine(
              c.gamma() == null ? null : b.empty(channels, type.parameter()),
              c.beta() == null ? null : b.empty(channels, type.parameter()));
      b.norm().gradients(sums, gradients, Write.SET);
      compare("dx", expected.dx(), dx);
      if (c.gamma() != null) {
        compare("dgamma", expected.dgamma(), sums.dyXhat());
        compare("rounded dgamma", expected.dgamma(), gradients.gamma());
      }
      if (c.beta() != null) {
        compare("dbeta", expected.dbeta(), sums.dy());
        compare("rounded dbeta", expected.dbeta(), gradients.beta());
      }
      if (residual != null) {
        compare("dresidual", expected.dresidual(), dResidual);
      }
    }

    void compare(String what, double[] expected, Tensor got) {
      double[] values = got.toDoubles();
      assertEquals(expected.length, values.length, what);
      boolean perElement = got.dtype() == type && expected.length == shape.elements();
      double rounding =
          switch (got.dtype()) {
            case F64 -> 0;
            case F32 -> 0x1p-24;
            case F16 -> 0x1p-11;
            case BF16 -> 0x1p-8;
            default -> throw new AssertionError(got);
          };
      for (int i = 0; i < expected.length; i++) {
        int channel = perElement ? c.channelOf(i) : i;
        double distance =
            Math.abs(c.statistics().mean()[channel]) * c.statistics().invstd()[channel];
        // A mean of 1e6 in F64 is known to 6e-11, beside a deviation of 0.1 that is 6e-10.
        double arithmetic = 1e-13 + 0x1p-52 * distance;
        double coefficients = perElement && type != DType.F64 ? 0x1p-22 : 0;
        double tolerance =
            rounding * Math.abs(expected[i])
                + (arithmetic + coefficients) * (1 + Math.abs(expected[i]));
        int at = i;
        assertEquals(expected[i], values[i], tolerance, () -> what + "[" + at + "]");
      }
    }
  }

  private Tensor tensor(Shape s, DType t, double[] v) {
    return v == null ? null : b.empty(s, t).copyFrom(v);
  }

  private static Shape shape(Case c) {
    long[] d = c.shape();
    return switch (c.layout()) {
      case "NC" -> Shape.nc(d[0], d[1]);
      case "NCHW" -> Shape.nchw(d[0], d[1], d[2], d[3]);
      case "NHWC" -> Shape.nhwc(d[0], d[1], d[2], d[3]);
      default -> throw new AssertionError(c.layout());
    };
  }
}
