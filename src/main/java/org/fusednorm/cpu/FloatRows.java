package org.fusednorm.cpu;

import java.util.Arrays;

/**
 * The kernels of {@link FloatNorm} where channels lie side by side. A lane is a column; where a row
 * is short, several rows form a tile and a channel has as many lanes as the tile has rows.
 */
final class FloatRows {
  private static final int BLOCK = 32;

  private FloatRows() {}

  /** One of the verbs below. */
  interface Verb {
    void run(NormCall n, Range r, Scratch s);
  }

  /** Runs a verb on a range that may have more columns than a chunk. */
  static void byColumns(Verb v, NormCall n, Range r, Scratch s) {
    int from = r.channelFrom;
    int to = r.channelTo;
    while (r.channelFrom < to) {
      r.channelTo = Math.min(to, r.channelFrom + Scratch.CHUNK);
      v.run(n, r, s);
      r.channelFrom = r.channelTo;
    }
    r.channelFrom = from;
  }

  /** Lanes of the tile at row {@code o}: fewer in the last tile. */
  private static int lanes(Layout l, Range r, long o) {
    int width = r.channelTo - r.channelFrom;
    return (int) Math.min(l.rowsPerTile, r.outerTo - o) * width;
  }

  private static long element(Layout l, Range r, long o) {
    return o * l.channels + r.channelFrom;
  }

  private static long gateAt(NormCall n, Range r, long o) {
    Layout l = n.layout();
    return n.gateAt + o / l.rowsPerTile * l.gateStride() + (r.channelFrom >> 3);
  }

  /** Repeats the coefficients of the range's channels over the lanes of a tile. */
  private static void expand(double[] from, Layout l, Range r, float[] to) {
    int width = r.channelTo - r.channelFrom;
    for (int i = 0; i < width; i++) {
      to[i] = (float) from[r.channelFrom + i];
    }
    int rows = (int) Math.min(l.rowsPerTile, r.outerTo - r.outerFrom);
    for (int i = 1; i < rows; i++) {
      System.arraycopy(to, 0, to, i * width, width);
    }
  }

  static void moments(NormCall n, Range r, Scratch s) {
    Layout l = n.layout();
    int lanes = lanes(l, r, r.outerFrom);
    Arrays.fill(s.total, 0, lanes, 0);
    Arrays.fill(s.total2, 0, lanes, 0);
    firstShift(n, r, lanes, s);
    int step = l.rowsPerTile;
    long tiles = 0;
    long o = r.outerFrom;
    long whole = r.outerFrom + (r.outerTo - r.outerFrom) / step * step;
    while (o < whole) {
      long first = o;
      int got = (int) Math.min(BLOCK, (whole - o) / step);
      Arrays.fill(s.sum, 0, lanes, 0);
      Arrays.fill(s.sum2, 0, lanes, 0);
      for (int i = 0; i < got; i++, o += step) {
        n.x.get(element(l, r, o), s.x, 0, lanes, s.half);
        Lanes.moments(s.x, s.shift, s.sum, s.sum2, lanes);
      }
      merge(n, r, first, got, tiles, lanes, s);
      tiles += got;
    }
    int rest = o < r.outerTo ? lanes(l, r, o) : 0;
    if (rest > 0) {
      n.x.get(element(l, r, o), s.x, 0, rest, s.half);
      Arrays.fill(s.sum, 0, rest, 0);
      Arrays.fill(s.sum2, 0, rest, 0);
      Lanes.moments(s.x, s.shift, s.sum, s.sum2, rest);
      merge(n, r, o, 1, tiles, rest, s);
    }
    fold(n, r, tiles, lanes, rest, s);
  }

  /** The shift of a lane: of its first four values the mean of the two in the middle. */
  private static void firstShift(NormCall n, Range r, int lanes, Scratch s) {
    Layout l = n.layout();
    int few = 0;
    Arrays.fill(s.sum, 0, lanes, Float.POSITIVE_INFINITY);
    Arrays.fill(s.sum2, 0, lanes, Float.NEGATIVE_INFINITY);
    for (long o = r.outerFrom; few < 4 && lanes(l, r, o) == lanes; o += l.rowsPerTile) {
      n.x.get(element(l, r, o), s.x, 0, lanes, s.half);
      for (int j = 0; j < lanes; j++) {
        s.total[j] += s.x[j];
        s.sum[j] = Math.min(s.sum[j], s.x[j]);
        s.sum2[j] = Math.max(s.sum2[j], s.x[j]);
      }
      few++;
    }
    for (int j = 0; j < lanes; j++) {
      // An outlier would take all other values far from the shift.
      double middle = few < 4 ? s.total[j] : s.total[j] - s.sum[j] - s.sum2[j];
      s.shift[j] = (float) (middle / (few < 4 ? few : 2));
      s.total[j] = 0;
    }
  }

  /** Merges F32 sums over {@code got} values per lane into mean and M2 of {@code before} values. */
  private static void merge(
      NormCall n, Range r, long firstRow, int got, long before, int lanes, Scratch s) {
    double perGot = 1.0 / got;
    double w = (double) got / (before + got);
    double v = w * before;
    for (int j = 0; j < lanes; j++) {
      double sum = s.sum[j];
      double mean = s.shift[j] + sum * perGot;
      double m2 = s.sum2[j] - sum * sum * perGot;
      double d = mean - s.total[j];
      if (got == 1) {
        d = s.x[j] - s.total[j];
        m2 = 0 * d;
      } else if (!FloatNorm.isExact(sum, s.sum2[j], s.total2[j] + m2 + d * d * v)
          && !Double.isNaN(s.total[j])) {
        mean = laneMean(n, r, firstRow, got, j);
        m2 = laneM2(n, r, firstRow, got, j, mean);
        d = mean - s.total[j];
      }
      s.total[j] += d * w;
      s.total2[j] += m2 + d * d * v;
      s.shift[j] = (float) s.total[j];
    }
  }

  private static double laneMean(NormCall n, Range r, long firstRow, int got, int lane) {
    Layout l = n.layout();
    double sum = 0;
    for (int i = 0; i < got; i++) {
      sum += n.x.get(element(l, r, firstRow + (long) i * l.rowsPerTile) + lane);
    }
    return sum / got;
  }

  private static double laneM2(NormCall n, Range r, long firstRow, int got, int lane, double mean) {
    Layout l = n.layout();
    double m2 = 0;
    for (int i = 0; i < got; i++) {
      double d = n.x.get(element(l, r, firstRow + (long) i * l.rowsPerTile) + lane) - mean;
      m2 += d * d;
    }
    return m2;
  }

  /** Merges the lanes of each channel; the first {@code rest} of them have one value more. */
  private static void fold(NormCall n, Range r, long tiles, int lanes, int rest, Scratch s) {
    int width = r.channelTo - r.channelFrom;
    int slot = r.stripe * n.layout().channels + r.channelFrom;
    System.arraycopy(s.total, 0, n.per.part, slot, width);
    System.arraycopy(s.total2, 0, n.per.part2, slot, width);
    long before = tiles + (rest > 0 ? 1 : 0);
    for (int lane = width; lane < lanes; lane += width) {
      long count = tiles + (lane < rest ? 1 : 0);
      double w = (double) count / (before + count);
      double v = w * before;
      for (int c = 0; c < width; c++) {
        double d = s.total[lane + c] - n.per.part[slot + c];
        n.per.part[slot + c] += d * w;
        n.per.part2[slot + c] += s.total2[lane + c] + d * d * v;
      }
      before += count;
    }
  }

  static void normalize(NormCall n, Range r, Scratch s) {
    Layout l = n.layout();
    expand(n.per.center, l, r, s.c);
    expand(n.per.scale, l, r, s.a);
    expand(n.per.shift, l, r, s.b);
    for (long o = r.outerFrom; o < r.outerTo; o += l.rowsPerTile) {
      int lanes = lanes(l, r, o);
      long e = element(l, r, o);
      n.x.get(e, s.x, 0, lanes, s.half);
      affine(n, r, s.x, lanes, s);
      FloatNorm.finish(n, e, lanes, gateAt(n, r, o) - n.gateAt, s);
    }
  }

  /** Lanes of wide channels in double, to the bit as ever in the others. */
  private static void affine(NormCall n, Range r, float[] v, int lanes, Scratch s) {
    if (!r.wide) {
      Lanes.affine(v, s.c, s.a, s.b, lanes);
      return;
    }
    for (int j = 0, c = r.channelFrom; j < lanes; j++, c = next(c, r)) {
      if (n.per.wide[c]) {
        v[j] = (float) ((v[j] - n.per.center[c]) * n.per.scale[c] + n.per.shift[c]);
      } else if (n.fused) {
        v[j] = (float) ((double) (v[j] - s.c[j]) * s.a[j] + s.b[j]);
      } else {
        v[j] = (v[j] - s.c[j]) * s.a[j] + s.b[j];
      }
    }
  }

  private static int next(int channel, Range r) {
    return channel + 1 == r.channelTo ? r.channelFrom : channel + 1;
  }

  static void gradientSums(NormCall n, Range r, Scratch s) {
    Layout l = n.layout();
    int width = r.channelTo - r.channelFrom;
    int slot = r.stripe * l.channels + r.channelFrom;
    expand(n.per.center, l, r, s.c);
    if (n.relu && n.gate == null) {
      expand(n.per.scale, l, r, s.a);
      expand(n.per.shift, l, r, s.b);
    }
    int most = lanes(l, r, r.outerFrom);
    Arrays.fill(s.total, 0, most, 0);
    Arrays.fill(s.total2, 0, most, 0);
    for (long o = r.outerFrom; o < r.outerTo; ) {
      long first = o;
      Arrays.fill(s.sum, 0, most, 0);
      Arrays.fill(s.sum2, 0, most, 0);
      for (int i = 0; i < BLOCK && o < r.outerTo; i++, o += l.rowsPerTile) {
        int lanes = lanes(l, r, o);
        loadGated(n, r, o, lanes, s);
        Lanes.gradientSums(s.dy, s.x, s.c, s.sum, s.sum2, lanes);
      }
      boolean finite = true;
      for (int j = 0; j < most; j++) {
        finite &= isFinite(s.sum[j], s.sum2[j]);
      }
      if (!finite) {
        sumInDouble(n, r, first, Math.min(o, r.outerTo), most, s);
      }
      for (int j = 0; j < most; j++) {
        // Lane by lane, so that a NaN changes no bit of another channel.
        boolean exact = isFinite(s.sum[j], s.sum2[j]);
        s.total[j] += exact ? s.sum[j] : s.xd[j];
        s.total2[j] += exact ? s.sum2[j] : s.dyd[j];
      }
    }
    Arrays.fill(n.per.part, slot, slot + width, 0);
    Arrays.fill(n.per.part2, slot, slot + width, 0);
    for (int lane = 0; lane < most; lane += width) {
      for (int c = 0; c < width; c++) {
        n.per.part[slot + c] += s.total[lane + c];
        n.per.part2[slot + c] += s.total2[lane + c];
      }
    }
  }

  private static boolean isFinite(float a, float b) {
    return Math.abs(a) <= Float.MAX_VALUE && Math.abs(b) <= Float.MAX_VALUE;
  }

  /** The sums of a block again, for lanes whose F32 sums overflowed. */
  private static void sumInDouble(NormCall n, Range r, long from, long to, int most, Scratch s) {
    Layout l = n.layout();
    Arrays.fill(s.xd, 0, most, 0);
    Arrays.fill(s.dyd, 0, most, 0);
    for (long o = from; o < to; o += l.rowsPerTile) {
      int lanes = lanes(l, r, o);
      loadGated(n, r, o, lanes, s);
      for (int j = 0; j < lanes; j++) {
        s.xd[j] += s.dy[j];
        s.dyd[j] += (double) s.dy[j] * ((double) s.x[j] - s.c[j]);
      }
    }
  }

  private static void loadGated(NormCall n, Range r, long o, int lanes, Scratch s) {
    long e = element(n.layout(), r, o);
    n.x.get(e, s.x, 0, lanes, s.half);
    n.dy.get(e, s.dy, 0, lanes, s.half);
    if (!n.relu) {
      return;
    }
    if (n.gate != null) {
      n.gate.get(gateAt(n, r, o), s.bytes, 0, (lanes + 7) >> 3);
      Lanes.gate(s.dy, s.bytes, lanes);
    } else {
      System.arraycopy(s.x, 0, s.other, 0, lanes);
      affine(n, r, s.other, lanes, s);
      Lanes.gate(s.dy, s.other, lanes);
    }
  }

  static void inputGradient(NormCall n, Range r, Scratch s) {
    Layout l = n.layout();
    expand(n.per.center, l, r, s.c);
    expand(n.per.scale, l, r, s.a);
    expand(n.per.shift, l, r, s.b);
    expand(n.per.slope, l, r, s.p);
    expand(n.per.offset, l, r, s.q);
    for (long o = r.outerFrom; o < r.outerTo; o += l.rowsPerTile) {
      int lanes = lanes(l, r, o);
      loadGated(n, r, o, lanes, s);
      if (n.per.constants) {
        Lanes.scale(s.dy, s.a, s.x, lanes);
      } else {
        gradient(n, r, lanes, s);
      }
      FloatNorm.store(n, element(l, r, o), lanes, s);
    }
  }

  private static void gradient(NormCall n, Range r, int lanes, Scratch s) {
    if (!r.wide) {
      Lanes.gradient(s.dy, s.x, s.c, s.a, s.p, s.q, lanes);
      return;
    }
    for (int j = 0, c = r.channelFrom; j < lanes; j++, c = next(c, r)) {
      s.x[j] =
          n.per.wide[c]
              ? (float)
                  (s.dy[j] * n.per.scale[c]
                      + (s.x[j] - n.per.center[c]) * n.per.slope[c]
                      + n.per.offset[c])
              : s.dy[j] * s.a[j] + (s.x[j] - s.c[j]) * s.p[j] + s.q[j];
    }
  }
}
