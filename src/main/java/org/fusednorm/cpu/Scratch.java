package org.fusednorm.cpu;

/** Buffers of one thread, so that no verb allocates; sized for the first-level cache. */
final class Scratch {
  /** Most elements that a kernel takes into an array at a time. */
  static final int CHUNK = 1024;

  // Elements, widened or not.
  final float[] x = new float[CHUNK];
  final float[] dy = new float[CHUNK];
  final float[] other = new float[CHUNK];
  final float[] second = new float[CHUNK];
  final double[] xd = new double[CHUNK];
  final double[] dyd = new double[CHUNK];
  final double[] otherd = new double[CHUNK];
  final short[] half = new short[CHUNK];
  final byte[] bytes = new byte[CHUNK];

  // Sums per lane.
  final float[] sum = new float[CHUNK];
  final float[] sum2 = new float[CHUNK];
  final double[] total = new double[CHUNK];
  final double[] total2 = new double[CHUNK];

  // Coefficients per lane, those of a row repeated.
  final float[] shift = new float[CHUNK];
  final float[] c = new float[CHUNK];
  final float[] a = new float[CHUNK];
  final float[] b = new float[CHUNK];
  final float[] p = new float[CHUNK];
  final float[] q = new float[CHUNK];

  /** The range of the item at work. */
  Range range = new Range();

  /** That of the item before, whose values lie in the cache and wait to be written. */
  Range pending = new Range();

  boolean isPending;

  /** Leaves the second half of an item to be done with the first half of the next. */
  void postpone() {
    Range r = range;
    range = pending;
    pending = r;
    isPending = true;
  }

  /** Jobs of this thread that take it less than so many nanoseconds get no help. */
  long worthHelp = Workers.LEAST_NANOS;

  /** Where a sum is left that is of no use but to have its numbers read. */
  int touched;

  private Gemm.Panels panels;
  private OpenBlas.Call blas;

  /** Pointers for OpenBLAS; call only where it is available. */
  OpenBlas.Call blas() {
    if (blas == null) {
      blas = new OpenBlas.Call();
    }
    return blas;
  }

  /** Room for a matrix product in plain Java, which few threads ever need. */
  Gemm.Panels panels() {
    if (panels == null) {
      panels = new Gemm.Panels();
    }
    return panels;
  }
}
