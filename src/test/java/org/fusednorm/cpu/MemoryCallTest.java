package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.Test;

class MemoryCallTest {
  private static final int ALONE = (int) (MemoryCall.ALONE_BYTES / Float.BYTES);

  private static long helpers() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(t -> t.getName().startsWith("fusednorm-cpu-"))
        .count();
  }

  @Test
  void largeCopiesAndClearingsAreSplitOverTheThreads() {
    for (boolean copy : new boolean[] {true, false}) {
      long before = helpers();
      try (Backend b = TestBackends.over(new CpuEngine(3));
          Scope m = b.scope()) {
        Tensor from = m.empty(Shape.of(ALONE + 1), DType.F32);
        Tensor to = m.empty(Shape.of(ALONE + 1), DType.F32);
        move(copy, from.batch(0, ALONE), to.batch(0, ALONE));
        assertEquals(before, helpers(), "small, copy " + copy);
        move(copy, from, to);
        assertEquals(before + 2, helpers(), "large, copy " + copy);
      }
    }
  }

  private static void move(boolean copy, Tensor from, Tensor to) {
    if (copy) {
      to.copyFrom(from);
    } else {
      to.fillZero();
    }
  }

  @Test
  void everyByteOfTheRangeAndNoOtherIsWritten() {
    int room = 3 * ALONE + 70;
    for (int threads : new int[] {1, 3}) {
      try (Backend b = TestBackends.over(new CpuEngine(threads));
          Scope m = b.scope()) {
        double[] source = Values.normal(DType.F32, 1, room, 0, 1);
        double[] old = Values.normal(DType.F32, 2, room, 0, 1);
        Tensor from = Values.tensor(m, Shape.of(room), DType.F32, source);
        Tensor to = Values.tensor(m, Shape.of(room), DType.F32, old);
        for (int n : new int[] {0, 1, 1000, ALONE, ALONE + 1, 3 * ALONE + 33}) {
          double[] expected = old.clone();
          to.copyFrom(old);
          System.arraycopy(source, 5, expected, 9, n);
          to.batch(9, 9 + n).copyFrom(from.batch(5, 5 + n));
          assertArrayEquals(expected, to.toDoubles(), "copy of " + n);
          Arrays.fill(expected, 9, 9 + n, 0);
          to.batch(9, 9 + n).fillZero();
          assertArrayEquals(expected, to.toDoubles(), "zeros, " + n);
        }
      }
    }
  }
}
