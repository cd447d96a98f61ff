package org.fusednorm.cpu;

import java.util.Arrays;
import org.fusednorm.DType;
import org.fusednorm.Write;

/**
 * Plain-Java matrix product, for platforms without OpenBLAS: blocks of c, for each of them panels
 * of op(a) and op(b) packed row by row, so that the innermost loop runs along a row of c.
 */
final class Gemm extends Job {
  private static final int ROWS = 32;
  private static final int COLUMNS = 256;
  private static final int DEPTH = 128;

  final Data a = new Data();
  final Data b = new Data();
  final Data c = new Data();
  private boolean transposeA;
  private boolean transposeB;
  private boolean add;
  private int m;
  private int n;
  private int k;
  private int blocksAcross;

  /** Panels of one thread, made when it first multiplies. */
  static final class Panels {
    final float[][] a = new float[ROWS][DEPTH];
    final float[][] b = new float[DEPTH][COLUMNS];
    final float[][] c = new float[ROWS][COLUMNS];
    final double[][] ad = new double[ROWS][DEPTH];
    final double[][] bd = new double[DEPTH][COLUMNS];
    final double[][] cd = new double[ROWS][COLUMNS];
    final float[] run = new float[Math.max(COLUMNS, DEPTH)];
    final double[] rund = new double[Math.max(COLUMNS, DEPTH)];
  }

  /** Sets the sizes, c [m, n], and returns the number of items. */
  int set(boolean ta, boolean tb, int rows, int columns, int depth, Write w) {
    transposeA = ta;
    transposeB = tb;
    add = w == Write.ADD;
    m = rows;
    n = columns;
    k = depth;
    blocksAcross = (int) Layout.ceil(n, COLUMNS);
    return (int) Layout.ceil(m, ROWS) * blocksAcross;
  }

  @Override
  void run(int item, Scratch s) {
    int i0 = item / blocksAcross * ROWS;
    int j0 = item % blocksAcross * COLUMNS;
    if (c.type == DType.F64) {
      doubles(i0, Math.min(ROWS, m - i0), j0, Math.min(COLUMNS, n - j0), s.panels());
    } else {
      floats(i0, Math.min(ROWS, m - i0), j0, Math.min(COLUMNS, n - j0), s);
    }
  }

  private void floats(int i0, int rows, int j0, int columns, Scratch s) {
    Panels p = s.panels();
    for (int i = 0; i < rows; i++) {
      if (add) {
        c.get((long) (i0 + i) * n + j0, p.c[i], 0, columns, s.half);
      } else {
        Arrays.fill(p.c[i], 0, columns, 0);
      }
    }
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      int depth = Math.min(DEPTH, k - k0);
      pack(a, transposeA, i0, rows, m, k0, depth, k, p.a, p.run);
      pack(b, transposeB, k0, depth, k, j0, columns, n, p.b, p.run);
      for (int i = 0; i < rows; i++) {
        float[] ci = p.c[i];
        float[] ai = p.a[i];
        int q = 0;
        for (; q + 3 < depth; q += 4) {
          addRows(
              ci,
              ai[q],
              p.b[q],
              ai[q + 1],
              p.b[q + 1],
              ai[q + 2],
              p.b[q + 2],
              ai[q + 3],
              p.b[q + 3],
              columns);
        }
        for (; q < depth; q++) {
          addRow(ci, ai[q], p.b[q], columns);
        }
      }
    }
    for (int i = 0; i < rows; i++) {
      c.put((long) (i0 + i) * n + j0, p.c[i], columns, s.half);
    }
  }

  private static void addRows(
      float[] c,
      float a0,
      float[] b0,
      float a1,
      float[] b1,
      float a2,
      float[] b2,
      float a3,
      float[] b3,
      int n) {
    for (int j = 0; j < n; j++) {
      c[j] += (a0 * b0[j] + a1 * b1[j]) + (a2 * b2[j] + a3 * b3[j]);
    }
  }

  private static void addRow(float[] c, float a, float[] b, int n) {
    for (int j = 0; j < n; j++) {
      c[j] += a * b[j];
    }
  }

  /** Rows {@code i0..} and columns {@code j0..} of op(x), op(x) being [allRows, allColumns]. */
  private static void pack(
      Data x,
      boolean transposed,
      int i0,
      int rows,
      int allRows,
      int j0,
      int columns,
      int allColumns,
      float[][] to,
      float[] run) {
    if (!transposed) {
      for (int i = 0; i < rows; i++) {
        x.get((long) (i0 + i) * allColumns + j0, to[i], 0, columns, null);
      }
      return;
    }
    for (int j = 0; j < columns; j++) {
      x.get((long) (j0 + j) * allRows + i0, run, 0, rows, null);
      for (int i = 0; i < rows; i++) {
        to[i][j] = run[i];
      }
    }
  }

  private void doubles(int i0, int rows, int j0, int columns, Panels p) {
    for (int i = 0; i < rows; i++) {
      if (add) {
        c.get((long) (i0 + i) * n + j0, p.cd[i], 0, columns);
      } else {
        Arrays.fill(p.cd[i], 0, columns, 0);
      }
    }
    for (int k0 = 0; k0 < k; k0 += DEPTH) {
      int depth = Math.min(DEPTH, k - k0);
      pack(a, transposeA, i0, rows, m, k0, depth, k, p.ad, p.rund);
      pack(b, transposeB, k0, depth, k, j0, columns, n, p.bd, p.rund);
      for (int i = 0; i < rows; i++) {
        for (int q = 0; q < depth; q++) {
          addRow(p.cd[i], p.ad[i][q], p.bd[q], columns);
        }
      }
    }
    for (int i = 0; i < rows; i++) {
      c.put((long) (i0 + i) * n + j0, p.cd[i], columns);
    }
  }

  private static void addRow(double[] c, double a, double[] b, int n) {
    for (int j = 0; j < n; j++) {
      c[j] += a * b[j];
    }
  }

  private static void pack(
      Data x,
      boolean transposed,
      int i0,
      int rows,
      int allRows,
      int j0,
      int columns,
      int allColumns,
      double[][] to,
      double[] run) {
    if (!transposed) {
      for (int i = 0; i < rows; i++) {
        x.get((long) (i0 + i) * allColumns + j0, to[i], 0, columns);
      }
      return;
    }
    for (int j = 0; j < columns; j++) {
      x.get((long) (j0 + j) * allRows + i0, run, 0, rows);
      for (int i = 0; i < rows; i++) {
        to[i][j] = run[i];
      }
    }
  }
}
