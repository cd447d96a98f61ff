package org.fusednorm.cpu;

import java.util.Arrays;

/** Plain-Java kernels for F32, F16 and BF16, which compute in F32 lanes and merge in F64. */
final class FloatNorm implements NormKernels {
  static final FloatNorm INSTANCE = new FloatNorm();

  /** Chunks, or tiles of rows, whose F32 sums are taken before they are merged in F64. */
  private static final int BLOCK = 16;

  /** From which the first shift is found. */
  private static final int SHIFT_VALUES = 128;

  /** Below this a sum of squares may have lost what underflowed. */
  private static final float TINY = 1e-30f;

  private FloatNorm() {}

  @Override
  public void moments(NormCall n, Range r, Scratch s) {
    if (n.layout().isRows()) {
      FloatRows.moments(n, r, s);
      return;
    }
    for (int c = r.channelFrom; c < r.channelTo; c++) {
      planeMoments(n, r, c, s);
    }
  }

  /** Whether F32 sums of shifted values tell an M2 that they are part of. */
  static boolean isExact(double sum, double sum2, double m2) {
    boolean constant = sum2 == 0 && sum == 0;
    // Not when the shift was far from the mean for the spread of all that M2 is of, and not when
    // squares over- or underflowed.
    boolean near = m2 >= 0.25 * sum2;
    return constant || (near && sum2 >= TINY && sum2 <= Float.MAX_VALUE);
  }

  /** The mean without the least and the most: an outlier would take all others far from it. */
  private static float firstShift(float[] x, int n) {
    double sum = 0;
    float least = Float.POSITIVE_INFINITY;
    float most = Float.NEGATIVE_INFINITY;
    for (int i = 0; i < n; i++) {
      sum += x[i];
      least = Math.min(least, x[i]);
      most = Math.max(most, x[i]);
    }
    return (float) (n < 4 ? sum / n : (sum - least - most) / (n - 2));
  }

  private static void planeMoments(NormCall n, Range r, int channel, Scratch s) {
    Layout l = n.layout();
    long width = r.innerTo - r.innerFrom;
    long values = r.count();
    double mean = 0;
    double m2 = 0;
    float k = 0;
    for (long done = 0; done < values; ) {
      long first = done;
      Arrays.fill(s.sum, 0);
      Arrays.fill(s.sum2, 0);
      for (int chunk = 0; chunk < BLOCK && done < values; chunk++) {
        int got = fill(n.x, l, r, channel, done, s.x, s.half);
        if (done == 0) {
          k = firstShift(s.x, Math.min(got, SHIFT_VALUES));
        }
        Lanes.moments(s.x, k, s.sum, s.sum2, got);
        done += got;
      }
      double count = done - first;
      double sum = Lanes.sum(s.sum, s.sum.length);
      double sum2 = Lanes.sum(s.sum2, s.sum2.length);
      double blockMean = k + sum / count;
      double blockM2 = sum2 - sum * sum / count;
      double w = count / done;
      double d = blockMean - mean;
      if (!isExact(sum, sum2, m2 + blockM2 + d * d * w * first) && !Double.isNaN(mean)) {
        blockMean = 0;
        for (long v = first; v < done; v++) {
          blockMean += n.x.get(element(l, r, width, channel, v));
        }
        blockMean /= count;
        blockM2 = 0;
        for (long v = first; v < done; v++) {
          double off = n.x.get(element(l, r, width, channel, v)) - blockMean;
          blockM2 += off * off;
        }
        d = blockMean - mean;
      }
      mean += d * w;
      m2 += blockM2 + d * d * w * first;
      k = (float) mean;
    }
    n.per.part[r.stripe * l.channels + channel] = mean;
    n.per.part2[r.stripe * l.channels + channel] = m2;
  }

  /** Element of value {@code v} of a channel in the range. */
  private static long element(Layout l, Range r, long width, int channel, long v) {
    long plane = (r.outerFrom + v / width) * l.channels + channel;
    return plane * l.inner + r.innerFrom + v % width;
  }

  /** Takes the values of a channel from {@code v} on, over as many planes as fit a chunk. */
  private static int fill(
      Data d, Layout l, Range r, int channel, long v, float[] to, short[] half) {
    long width = r.innerTo - r.innerFrom;
    long outer = r.outerFrom + v / width;
    long at = v % width;
    int got = 0;
    while (got < to.length && outer < r.outerTo) {
      int run = (int) Math.min(to.length - got, width - at);
      d.get((outer * l.channels + channel) * l.inner + r.innerFrom + at, to, got, run, half);
      got += run;
      at += run;
      if (at == width) {
        at = 0;
        outer++;
      }
    }
    return got;
  }

  @Override
  public void normalize(NormCall n, Range r, Scratch s) {
    if (n.layout().isRows()) {
      FloatRows.byColumns(FloatRows::normalize, n, r, s);
      return;
    }
    Layout l = n.layout();
    for (long o = r.outerFrom; o < r.outerTo; o++) {
      for (int c = r.channelFrom; c < r.channelTo; c++) {
        long plane = o * l.channels + c;
        for (long i = r.innerFrom; i < r.innerTo; i += Scratch.CHUNK) {
          int m = (int) Math.min(Scratch.CHUNK, r.innerTo - i);
          long e = plane * l.inner + i;
          n.x.get(e, s.x, 0, m, s.half);
          affine(n, c, s.x, m);
          finish(n, e, m, plane * l.gateStride() + (i >> 3), s);
        }
      }
    }
  }

  private static void affine(NormCall n, int c, float[] v, int m) {
    if (n.per.wide[c]) {
      Lanes.affineInDouble(v, n.per.center[c], n.per.scale[c], n.per.shift[c], m);
    } else if (n.fused) {
      Lanes.affineFused(
          v, (float) n.per.center[c], (float) n.per.scale[c], (float) n.per.shift[c], m);
    } else {
      Lanes.affine(v, (float) n.per.center[c], (float) n.per.scale[c], (float) n.per.shift[c], m);
    }
  }

  /** Residual, gate and activation on the affine values in {@code s.x}, then to y. */
  static void finish(NormCall n, long e, int m, long gate, Scratch s) {
    if (n.residual.isPresent()) {
      n.residual.get(e, s.other, 0, m, s.half);
      Lanes.add(s.x, s.other, m);
    }
    if (n.relu) {
      if (n.gate != null) {
        int bytes = Lanes.pack(s.x, m, s.bytes);
        n.gate.put(n.gateAt + gate, s.bytes, 0, bytes);
      }
      Lanes.relu(s.x, m);
    }
    n.y.put(e, s.x, m, s.half);
  }

  @Override
  public void gradientSums(NormCall n, Range r, Scratch s) {
    if (n.layout().isRows()) {
      FloatRows.byColumns(FloatRows::gradientSums, n, r, s);
      return;
    }
    for (int c = r.channelFrom; c < r.channelTo; c++) {
      planeSums(n, r, c, s);
    }
  }

  private static void planeSums(NormCall n, Range r, int channel, Scratch s) {
    Layout l = n.layout();
    float center = (float) n.per.center[channel];
    double sum = 0;
    double sum2 = 0;
    int chunks = 0;
    Arrays.fill(s.sum, 0);
    Arrays.fill(s.sum2, 0);
    for (long o = r.outerFrom; o < r.outerTo; o++) {
      long plane = o * l.channels + channel;
      for (long i = r.innerFrom; i < r.innerTo; i += Scratch.CHUNK) {
        int m = (int) Math.min(Scratch.CHUNK, r.innerTo - i);
        loadGated(n, plane, i, m, channel, s);
        Lanes.gradientSums(s.dy, s.x, center, s.sum, s.sum2, m);
        if (++chunks == BLOCK) {
          chunks = 0;
          sum += Lanes.sum(s.sum, s.sum.length);
          sum2 += Lanes.sum(s.sum2, s.sum2.length);
          Arrays.fill(s.sum, 0);
          Arrays.fill(s.sum2, 0);
        }
      }
    }
    sum += Lanes.sum(s.sum, s.sum.length);
    sum2 += Lanes.sum(s.sum2, s.sum2.length);
    if (!Double.isFinite(sum) || !Double.isFinite(sum2)) {
      sum = 0;
      sum2 = 0;
      for (long o = r.outerFrom; o < r.outerTo; o++) {
        long plane = o * l.channels + channel;
        for (long i = r.innerFrom; i < r.innerTo; i += Scratch.CHUNK) {
          int m = (int) Math.min(Scratch.CHUNK, r.innerTo - i);
          loadGated(n, plane, i, m, channel, s);
          for (int j = 0; j < m; j++) {
            sum += s.dy[j];
            sum2 += (double) s.dy[j] * ((double) s.x[j] - center);
          }
        }
      }
    }
    n.per.part[r.stripe * l.channels + channel] = sum;
    n.per.part2[r.stripe * l.channels + channel] = sum2;
  }

  /** Loads x and the gated dy of a run in one plane. */
  private static void loadGated(NormCall n, long plane, long i, int m, int channel, Scratch s) {
    long e = plane * n.layout().inner + i;
    n.x.get(e, s.x, 0, m, s.half);
    n.dy.get(e, s.dy, 0, m, s.half);
    if (!n.relu) {
      return;
    }
    if (n.gate != null) {
      long at = n.gateAt + plane * n.layout().gateStride() + (i >> 3);
      n.gate.get(at, s.bytes, 0, (m + 7) >> 3);
      Lanes.gate(s.dy, s.bytes, m);
    } else {
      System.arraycopy(s.x, 0, s.other, 0, m);
      affine(n, channel, s.other, m);
      Lanes.gate(s.dy, s.other, m);
    }
  }

  @Override
  public void inputGradient(NormCall n, Range r, Scratch s) {
    if (n.layout().isRows()) {
      FloatRows.byColumns(FloatRows::inputGradient, n, r, s);
      return;
    }
    Layout l = n.layout();
    for (long o = r.outerFrom; o < r.outerTo; o++) {
      for (int c = r.channelFrom; c < r.channelTo; c++) {
        long plane = o * l.channels + c;
        float a = (float) n.per.scale[c];
        float p = (float) n.per.slope[c];
        float q = (float) n.per.offset[c];
        for (long i = r.innerFrom; i < r.innerTo; i += Scratch.CHUNK) {
          int m = (int) Math.min(Scratch.CHUNK, r.innerTo - i);
          loadGated(n, plane, i, m, c, s);
          if (n.per.constants) {
            Lanes.scale(s.dy, a, s.x, m);
          } else if (n.per.wide[c]) {
            Lanes.gradientInDouble(
                s.dy, s.x, n.per.center[c], n.per.scale[c], n.per.slope[c], n.per.offset[c], m);
          } else {
            Lanes.gradient(s.dy, s.x, (float) n.per.center[c], a, p, q, m);
          }
          store(n, plane * l.inner + i, m, s);
        }
      }
    }
  }

  static void store(NormCall n, long e, int m, Scratch s) {
    if (n.dResidual.isPresent()) {
      n.dResidual.put(e, s.dy, m, s.half);
    }
    n.dx.put(e, s.x, m, s.half);
  }
}
