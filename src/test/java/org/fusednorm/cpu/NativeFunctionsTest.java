package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Random;
import java.util.function.DoubleUnaryOperator;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Scalar;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Activations of every instruction set against StrictMath, over numbers of every exponent; what
 * else a training step does, against plain Java.
 */
class NativeFunctionsTest {
  private static final double LIMIT = 2.5e-7;

  private static List<Isa> isas;

  @BeforeAll
  static void needsTheLibrary() {
    isas = InstructionSets.available();
  }

  /** Floats at an address. */
  private static final class Floats {
    final FloatBuffer v;
    final long address;

    Floats(int n) {
      ByteBuffer b = ByteBuffer.allocateDirect(4 * n).order(ByteOrder.nativeOrder());
      v = b.asFloatBuffer();
      address = NativeLibrary.address(b);
    }
  }

  /** Every 20,011th bit pattern, where functions bend, and what is special. */
  private static Floats inputs() {
    int patterns = (int) (0x1_0000_0000L / 20_011);
    float[] special = {
      0f,
      -0f,
      Float.MIN_VALUE,
      -Float.MIN_VALUE,
      Float.MIN_NORMAL,
      88.8f,
      -88.8f,
      -95f,
      -103f,
      -104f,
      Float.MAX_VALUE,
      -Float.MAX_VALUE,
      Float.POSITIVE_INFINITY,
      Float.NEGATIVE_INFINITY,
      Float.NaN
    };
    int bends = 200_000;
    Floats f = new Floats(patterns + bends + special.length);
    for (int i = 0; i < patterns; i++) {
      f.v.put(i, Float.intBitsToFloat(i * 20_011));
    }
    for (int i = 0; i < bends; i++) {
      f.v.put(patterns + i, (i - bends / 2) * 1e-3f);
    }
    f.v.put(patterns + bends, special);
    return f;
  }

  private static void compare(Nonlinearity f, DoubleUnaryOperator exact) {
    Floats x = inputs();
    int n = x.v.capacity();
    Floats y = new Floats(n);
    for (Isa isa : isas) {
      Simd.activate(isa.ordinal(), f.ordinal(), x.address, y.address, n);
      for (int i = 0; i < n; i++) {
        double expected = exact.applyAsDouble(x.v.get(i));
        float actual = y.v.get(i);
        String what = isa + " " + f + "(" + x.v.get(i) + ")";
        if (Double.isNaN(expected)) {
          assertTrue(Float.isNaN(actual), what);
        } else if (Double.compare(expected, actual) != 0) {
          // A few units in the last place where the result is subnormal.
          double allowed = Math.max(LIMIT * Math.abs(expected), 2 * Float.MIN_VALUE);
          assertEquals(expected, actual, allowed, what);
        }
      }
    }
  }

  @Test
  void sigmoid() {
    compare(Nonlinearity.SIGMOID, v -> 1 / (1 + StrictMath.exp(-v)));
  }

  @Test
  void tanh() {
    compare(Nonlinearity.TANH, StrictMath::tanh);
  }

  @Test
  void relu() {
    compare(Nonlinearity.RELU, v -> v <= 0 ? 0 : v);
  }

  @Test
  void signsOfZeros() {
    Floats v = new Floats(2);
    for (Isa isa : isas) {
      for (Nonlinearity f : List.of(Nonlinearity.TANH, Nonlinearity.RELU)) {
        v.v.put(0, new float[] {-0f, 0f});
        Simd.activate(isa.ordinal(), f.ordinal(), v.address, v.address, 2);
        float expected = f == Nonlinearity.TANH ? -0f : 0f;
        assertEquals(Float.floatToRawIntBits(expected), Float.floatToRawIntBits(v.v.get(0)));
        assertEquals(0, Float.floatToRawIntBits(v.v.get(1)));
      }
    }
  }

  @Test
  void gradientsOfAnyLengthInPlace() {
    for (Isa isa : isas) {
      for (Nonlinearity f : Nonlinearity.values()) {
        for (int n = 0; n < 50; n++) {
          Floats y = new Floats(n + 1);
          Floats dy = new Floats(n + 1);
          double[] expected = new double[n + 1];
          for (int i = 0; i <= n; i++) {
            double v = i == 3 ? Double.NaN : (float) Math.sin(i) / 1.5f;
            float g = i - 7.5f;
            y.v.put(i, (float) v);
            dy.v.put(i, g);
            expected[i] =
                switch (f) {
                  case SIGMOID -> g * v * (1 - v);
                  case TANH -> g * (1 - v * v);
                  case RELU -> v <= 0 ? 0 : g;
                };
          }
          Simd.activationGradient(isa.ordinal(), f.ordinal(), y.address, dy.address, dy.address, n);
          for (int i = 0; i < n; i++) {
            assertEquals(expected[i], dy.v.get(i), 1e-6 * Math.abs(i - 7.5), isa + " " + f + i);
          }
          assertEquals(n - 7.5f, dy.v.get(n), "behind the end");
        }
      }
    }
  }

  /** Also where products are made in F32, by a scale that it holds. */
  @Test
  void gatheredBytesAreRoundedOnce() {
    byte[] bytes = new byte[256];
    for (int i = 0; i < 256; i++) {
      bytes[i] = (byte) i;
    }
    double[] scales = {
      1,
      0.5,
      1.0 / 255,
      1 + 0x1p-23,
      1 + 0x1p-24,
      -3,
      0,
      0x1.8p-149,
      0x1p-149,
      0x1p-130,
      1e38,
      0x1p127,
      1e300
    };
    for (Isa isa : isas) {
      try (Backend b = TestBackends.over(new CpuEngine(1, isa));
          Scope m = b.scope()) {
        Tensor table = m.empty(Shape.of(1, 256), DType.U8).copyFrom(ByteBuffer.wrap(bytes));
        Tensor rows = m.empty(Shape.of(1), DType.I64).copyFrom(0L);
        Tensor x = m.empty(Shape.of(1, 256), DType.F32);
        for (double scale : scales) {
          b.math().gather(table, rows, scale, x);
          float[] actual = x.toFloats();
          for (int i = 0; i < 256; i++) {
            assertEquals((float) (i * scale), actual[i], isa + ": " + i + " by " + scale);
          }
        }
      }
    }
  }

  @Test
  void trainingStepIsThatOfPlainJava() {
    for (boolean velocity : new boolean[] {false, true}) {
      byte[] expected = trained(null, velocity);
      for (Isa isa : isas) {
        assertArrayEquals(expected, trained(isa, velocity), isa + " with velocity: " + velocity);
      }
    }
  }

  /** A step of gradient descent over a gathered batch; the plain-Java twin for null. */
  private static byte[] trained(Isa isa, boolean velocity) {
    int n = 5_003;
    try (Backend b = TestBackends.over(new CpuEngine(2, isa));
        Scope m = b.scope()) {
      byte[] pixels = new byte[7 * n];
      new Random(5).nextBytes(pixels);
      Tensor table = m.empty(Shape.of(7, n), DType.U8).copyFrom(ByteBuffer.wrap(pixels));
      Tensor rows = m.empty(Shape.of(9), DType.I64).copyFrom(6L, 0L, 3L, 3L, 1L, 5L, 2L, 4L, 6L);
      Tensor x = m.empty(Shape.of(9, n), DType.F32);
      b.math().gather(table, rows, 1.0 / 255, x);
      Tensor old = velocity ? x.batch(6, 9) : null;
      Scalar kept = velocity ? m.scalar(0.9) : null;
      b.math().sgd(x.batch(0, 3), x.batch(3, 6), old, m.scalar(0.3), kept, m.scalar(0.01));
      ByteBuffer all = ByteBuffer.allocate(9 * 4 * n);
      x.copyTo(all);
      return all.array();
    }
  }
}
