package org.fusednorm.cpu;

import org.fusednorm.DType;
import org.fusednorm.Tensor;
import org.fusednorm.host.Isa;

/**
 * Rows of a table by their numbers, bytes made into numbers on the way: a batch drawn from a data
 * set. One per Java thread, kept with its arrays.
 */
final class Gather extends Job {
  /** Bytes that one read brings into the cache: lines are fetched in pairs. */
  private static final int PAIR = 128;

  /** What an element takes one thread, about. */
  private static final double NANOS = 0.11;

  private final Workers workers;
  private final Isa isa;
  private final Data x = new Data();
  private final Data y = new Data();
  private final Data numbers = new Data();
  private long rows;
  private long columns;
  private long rowsPerItem;
  private double scale;

  // What bytes become: there are only 256 products with a scale.
  private final float[] product = new float[256];
  private final double[] productd = new double[256];

  /** With the kernels of an instruction set, or in plain Java for null. */
  Gather(Workers workers, Isa isa) {
    this.workers = workers;
    this.isa = isa;
  }

  void run(Tensor table, Tensor wanted, double scale, Tensor out) {
    x.set(table);
    y.set(out);
    numbers.set(wanted);
    long entries = MathCall.rows(table);
    long n = wanted.shape().elements();
    for (long i = 0; i < n; i++) {
      long row = MathCall.label(numbers, i);
      if (row < 0 || row >= entries) {
        throw new IllegalArgumentException(
            "row " + row + " at position " + i + " is not in 0.." + (entries - 1));
      }
    }
    this.scale = scale;
    if (x.type != y.type) {
      for (int v = 0; v < 256; v++) {
        productd[v] = v * scale;
        product[v] = (float) productd[v];
      }
    }
    rows = MathCall.rows(out);
    columns = MathCall.columns(out);
    rowsPerItem = columns == 0 ? 1 : Math.max(1, MathCall.ITEM / columns);
    int items = columns == 0 ? 0 : Math.toIntExact(Layout.ceil(rows, rowsPerItem));
    workers.run(this, items, (long) (rows * columns * NANOS));
  }

  @Override
  void run(int item, Scratch s) {
    long from = item * rowsPerItem;
    long to = Math.min(rows, from + rowsPerItem);
    if (isa != null && x.type != y.type && y.type == DType.F32) {
      Simd.gatherBytes(
          isa.ordinal(),
          x.address(0),
          numbers.address(0),
          y.address(0),
          rows,
          columns,
          scale,
          from,
          to);
    } else if (x.type != y.type) {
      touch(from, to, s);
      for (long r = from; r < to; r++) {
        long row = MathCall.label(numbers, r) * columns;
        for (long j = 0; j < columns; j += Scratch.CHUNK) {
          int n = (int) Math.min(Scratch.CHUNK, columns - j);
          x.storage.get(x.at + row + j, s.bytes, 0, n);
          convert(r * columns + j, n, s);
        }
      }
    } else if (columns == 1 && x.width == 8) {
      for (long r = from; r < to; r++) {
        y.storage.putLong(y.at + 8 * r, x.storage.getLong(x.at + 8 * MathCall.label(numbers, r)));
      }
    } else {
      long bytes = columns * x.width;
      for (long r = from; r < to; r++) {
        x.storage.copy(
            x.at + MathCall.label(numbers, r) * bytes, y.storage, y.at + r * bytes, bytes);
      }
    }
  }

  /** Rows lie anywhere in memory: reads of all of them at once do not wait for each other. */
  private void touch(long from, long to, Scratch s) {
    int sum = 0;
    for (long r = from; r < to; r++) {
      long row = x.at + MathCall.label(numbers, r) * columns;
      for (long j = 0; j < columns; j += PAIR) {
        sum += x.storage.getByte(row + j);
      }
    }
    s.touched = sum;
  }

  private void convert(long e, int n, Scratch s) {
    byte[] bytes = s.bytes;
    if (y.type == DType.F64) {
      for (int i = 0; i < n; i++) {
        s.xd[i] = productd[bytes[i] & 0xff];
      }
      y.put(e, s.xd, n);
    } else {
      float[] to = s.x;
      float[] of = product;
      for (int i = 0; i < n; i++) {
        to[i] = of[bytes[i] & 0xff];
      }
      y.put(e, to, n, s.half);
    }
  }
}
