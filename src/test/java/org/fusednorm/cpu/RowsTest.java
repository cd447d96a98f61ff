package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.util.List;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.testing.Values;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Verbs that go row by row, with rows that share a chunk, fill one and go beyond it. */
class RowsTest {
  private static final int ROWS = 700;

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 10, 300, 513, 1024, 1025, 2500})
  void everyRowGetsItsOwn(int width) {
    try (Backend b = TestBackends.over(new CpuEngine(2));
        Scope m = b.scope()) {
      long[] wanted = new long[ROWS];
      for (int r = 0; r < ROWS; r++) {
        wanted[r] = (r * 37L + 11) % 50;
      }
      Tensor rows = m.zeros(Shape.of(ROWS), DType.I64).copyFrom(wanted);
      byte[] bytes = new byte[50 * width];
      for (int i = 0; i < bytes.length; i++) {
        bytes[i] = (byte) (i * 31 + i / width);
      }
      Tensor table = m.zeros(Shape.of(50, width), DType.U8);
      table.copyFrom(ByteBuffer.wrap(bytes));
      for (DType t : List.of(DType.F32, DType.F64)) {
        Tensor x = m.empty(Shape.of(ROWS, width), t);
        b.math().gather(table, rows, 0.5, x);
        Tensor same = m.empty(Shape.of(ROWS, width), t);
        Tensor source = m.empty(Shape.of(50, width), t);
        Tensor first = m.zeros(Shape.of(50), DType.I64).copyFrom(counted(50));
        b.math().gather(table, first, 0.5, source);
        b.math().gather(source, rows, 1, same);
        Tensor bias = Values.tensor(m, Shape.of(width), t, Values.normal(t, 1, width, 0, 100));
        Tensor y = m.empty(Shape.of(ROWS, width), t);
        b.math().addBias(x, bias, y);
        double[] added = bias.toDoubles();
        double[] gathered = x.toDoubles();
        double[] copied = same.toDoubles();
        double[] sums = y.toDoubles();
        for (int i = 0; i < gathered.length; i++) {
          int r = i / width;
          int j = i % width;
          double expected = 0.5 * (bytes[(int) wanted[r] * width + j] & 0xff);
          assertEquals(expected, gathered[i], "row " + r + " column " + j);
          assertEquals(expected, copied[i], "copied row " + r + " column " + j);
          double sum = expected + added[j];
          assertEquals(t == DType.F64 ? sum : (float) sum, sums[i], "sum " + r + " " + j);
        }
      }
    }
  }

  private static long[] counted(int n) {
    long[] v = new long[n];
    for (int i = 0; i < n; i++) {
      v[i] = i;
    }
    return v;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 10, 300, 513, 1024, 1025, 2500})
  void crossEntropy(int width) {
    for (DType t : List.of(DType.F32, DType.F64)) {
      try (Backend b = TestBackends.over(new CpuEngine(2));
          Scope m = b.scope()) {
        double[] v = Values.normal(t, 7, ROWS * width, 0, 5);
        long[] label = new long[ROWS];
        double[] expected = new double[v.length];
        double total = 0;
        for (int r = 0; r < ROWS; r++) {
          label[r] = r * 13L % width;
          double sum = 0;
          for (int j = 0; j < width; j++) {
            sum += StrictMath.exp(v[r * width + j]);
          }
          for (int j = 0; j < width; j++) {
            double p = StrictMath.exp(v[r * width + j]) / sum;
            expected[r * width + j] = (p - (j == label[r] ? 1 : 0)) / ROWS;
          }
          total += StrictMath.log(sum) - v[r * width + (int) label[r]];
        }
        Tensor logits = Values.tensor(m, Shape.of(ROWS, width), t, v);
        Tensor labels = m.zeros(Shape.of(ROWS), DType.I64).copyFrom(label);
        Tensor loss = m.zeros(Shape.of(1), DType.F64);
        Tensor d = m.empty(Shape.of(ROWS, width), t);
        b.math().softmaxCrossEntropy(logits, labels, loss, d);
        assertEquals(total / ROWS, loss.toDoubles()[0], 1e-12 * (1 + total / ROWS));
        Values.assertClose("gradient", expected, d.toDoubles(), t == DType.F64 ? 1e-16 : 1e-10);
      }
    }
  }
}
