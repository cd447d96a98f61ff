package org.fusednorm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ShapeTest {
  static Stream<Arguments> layouts() {
    return Stream.of(
        Arguments.of(Shape.nc(6, 7), 6, 7, 1),
        Arguments.of(Shape.ncl(2, 3, 5), 2, 3, 5),
        Arguments.of(Shape.nchw(2, 3, 5, 7), 2, 3, 35),
        Arguments.of(Shape.ncdhw(2, 3, 5, 7, 11), 2, 3, 385),
        Arguments.of(Shape.nlc(2, 5, 3), 10, 3, 1),
        Arguments.of(Shape.nhwc(2, 5, 7, 3), 70, 3, 1),
        Arguments.of(Shape.ndhwc(2, 5, 7, 11, 3), 770, 3, 1),
        Arguments.of(Shape.nchw(0, 3, 5, 7), 0, 3, 35),
        Arguments.of(Shape.nchw(4, 3, 5, 7).perActivation(), 4, 105, 1));
  }

  @ParameterizedTest
  @MethodSource("layouts")
  void everyLayoutIsOuterTimesChannelsTimesInner(Shape s, long outer, long channels, long inner) {
    assertEquals(outer, s.outer());
    assertEquals(channels, s.channels());
    assertEquals(inner, s.inner());
    assertEquals(outer * channels * inner, s.elements());
    assertEquals(outer * inner, s.valuesPerChannel());
    assertEquals(outer * channels * inner * 2, s.bytes(DType.BF16));
  }

  @Test
  void theLayoutIsPartOfTheIdentity() {
    assertEquals(Shape.nchw(2, 3, 4, 5), Shape.nchw(2, 3, 4, 5));
    assertEquals(Shape.nchw(2, 3, 4, 5).hashCode(), Shape.nchw(2, 3, 4, 5).hashCode());
    assertNotEquals(Shape.nchw(2, 3, 4, 5), Shape.nhwc(2, 3, 4, 5));
    assertNotEquals(Shape.nc(2, 3), Shape.of(2, 3));
    assertEquals("[2, 3, 4, 5] NHWC", Shape.nhwc(2, 3, 4, 5).toString());
  }

  @Test
  void batchesChange() {
    assertEquals(Shape.nhwc(9, 3, 4, 5), Shape.nhwc(2, 3, 4, 5).withBatch(9));
    assertEquals(1, Shape.of().elements());
    assertThrows(IllegalArgumentException.class, () -> Shape.of().withBatch(2));
    assertThrows(IllegalArgumentException.class, () -> Shape.of().perActivation());
  }

  @Test
  void sizesGoBeyondThirtyTwoBits() {
    Shape s = Shape.nchw(1 << 20, 1 << 10, 64, 64);
    assertEquals(1L << 42, s.elements());
    assertEquals(1L << 45, s.bytes(DType.F64));
  }

  @Test
  void badShapesNameTheValue() {
    String negative =
        assertThrows(IllegalArgumentException.class, () -> Shape.nc(4, -3)).getMessage();
    assertTrue(negative.contains("-3"), negative);
    long big = 1L << 40;
    String tooLarge =
        assertThrows(IllegalArgumentException.class, () -> Shape.nc(big, big)).getMessage();
    assertTrue(tooLarge.contains("1099511627776"), tooLarge);
    assertThrows(IllegalArgumentException.class, () -> Shape.nchw(4, 4, big, big));
    assertThrows(
        IllegalArgumentException.class, () -> Shape.nc(1L << 31, 1L << 30).bytes(DType.F64));
    String noChannels =
        assertThrows(IllegalArgumentException.class, () -> Shape.of(2, 3).channels()).getMessage();
    assertTrue(noChannels.contains("[2, 3]"), noChannels);
  }
}
