package org.fusednorm.reference;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.SplittableRandom;
import java.util.function.DoubleUnaryOperator;
import org.fusednorm.Half;
import org.junit.jupiter.api.Test;

/** Two implementations that share nothing, this one and {@link Half}, against each other. */
class SixteenBitsTest {
  @Test
  void knownValues() {
    assertEquals(1, SixteenBits.F16.decode((short) 0x3c00));
    assertEquals(65504, SixteenBits.F16.decode((short) 0x7bff));
    assertEquals(0x1p-24, SixteenBits.F16.decode((short) 0x0001));
    assertEquals(-2, SixteenBits.F16.decode((short) 0xc000));
    assertEquals(3.140625, SixteenBits.BF16.decode((short) 0x4049));
    assertEquals(0x1p-133, SixteenBits.BF16.decode((short) 0x0001));
    assertEquals(0x3555, SixteenBits.F16.encode(1.0 / 3));
    assertEquals(0x3eab, SixteenBits.BF16.encode(1.0 / 3));
    assertEquals(0x7bff, SixteenBits.F16.encode(65519.99));
    assertEquals(0x7c00, SixteenBits.F16.encode(65520));
    assertEquals(0x7f80, SixteenBits.BF16.encode(1e300));
    assertEquals((short) 0x8000, SixteenBits.F16.encode(-1e-300));
    assertEquals(0, SixteenBits.BF16.encode(Double.MIN_VALUE));
  }

  @Test
  void all65536ValuesDecodeAsInHalfAndComeBack() {
    for (int i = 0; i < 1 << 16; i++) {
      short bits = (short) i;
      double f16 = SixteenBits.F16.decode(bits);
      double bf16 = SixteenBits.BF16.decode(bits);
      assertEquals(Half.fromF16(bits), f16, "F16 " + i);
      assertEquals(Half.fromBf16(bits), bf16, "BF16 " + i);
      if (Double.isNaN(f16)) {
        assertTrue(Double.isNaN(SixteenBits.F16.decode(SixteenBits.F16.encode(f16))));
      } else {
        assertEquals(bits, SixteenBits.F16.encode(f16));
      }
      if (Double.isNaN(bf16)) {
        assertTrue(Double.isNaN(SixteenBits.BF16.decode(SixteenBits.BF16.encode(bf16))));
      } else {
        assertEquals(bits, SixteenBits.BF16.encode(bf16));
      }
    }
  }

  @Test
  void tiesGoToEvenAndTheirNeighboursToTheNearest() {
    tiesOf(SixteenBits.F16, 0x7bff);
    tiesOf(SixteenBits.BF16, 0x7f7f);
  }

  private static void tiesOf(SixteenBits type, int largest) {
    for (int i = 0; i < largest; i++) {
      double tie = (type.decode((short) i) + type.decode((short) (i + 1))) / 2;
      int even = i + (i & 1);
      assertEquals(even, type.encode(tie));
      assertEquals(i, type.encode(Math.nextDown(tie)));
      assertEquals(i + 1, type.encode(Math.nextUp(tie)));
      assertEquals((short) (0x8000 | even), type.encode(-tie));
    }
  }

  @Test
  void doublesRoundAsInHalf() {
    SplittableRandom random = new SplittableRandom(5);
    DoubleUnaryOperator same =
        v -> {
          assertEquals(Half.toF16(v), SixteenBits.F16.encode(v), () -> "F16 " + v);
          assertEquals(Half.toBf16(v), SixteenBits.BF16.encode(v), () -> "BF16 " + v);
          return v;
        };
    for (int i = 0; i < 200_000; i++) {
      double anywhere = Double.longBitsToDouble(random.nextLong());
      if (!Double.isNaN(anywhere)) {
        same.applyAsDouble(anywhere);
      }
      // Around the ties of both types, within and beyond what a float in between would keep.
      double tie = SixteenBits.F16.decode((short) random.nextInt(0x7c00)) * (1 + 0x1p-11);
      same.applyAsDouble(tie * (1 + Math.scalb(1.0, -random.nextInt(20, 53))));
      same.applyAsDouble(tie * (1 - Math.scalb(1.0, -random.nextInt(20, 53))));
    }
    same.applyAsDouble(Double.POSITIVE_INFINITY);
    same.applyAsDouble(Double.NEGATIVE_INFINITY);
    same.applyAsDouble(-0.0);
  }
}
