package org.fusednorm.cpu;

import java.util.Arrays;

/** Plain-Java kernels for F64: contiguous spans, over which the channels of the range repeat. */
final class DoubleNorm implements NormKernels {
  static final DoubleNorm INSTANCE = new DoubleNorm();

  private enum Verb {
    MOMENTS,
    NORMALIZE,
    SUMS,
    GRADIENT
  }

  private DoubleNorm() {}

  @Override
  public void moments(NormCall n, Range r, Scratch s) {
    each(Verb.MOMENTS, n, r, s);
  }

  @Override
  public void normalize(NormCall n, Range r, Scratch s) {
    each(Verb.NORMALIZE, n, r, s);
  }

  @Override
  public void gradientSums(NormCall n, Range r, Scratch s) {
    each(Verb.SUMS, n, r, s);
  }

  @Override
  public void inputGradient(NormCall n, Range r, Scratch s) {
    each(Verb.GRADIENT, n, r, s);
  }

  private static void each(Verb verb, NormCall n, Range r, Scratch s) {
    Layout l = n.layout();
    int slot = r.stripe * l.channels;
    if (verb == Verb.MOMENTS || verb == Verb.SUMS) {
      Arrays.fill(n.per.part, slot + r.channelFrom, slot + r.channelTo, 0);
      Arrays.fill(n.per.part2, slot + r.channelFrom, slot + r.channelTo, 0);
    }
    if (l.isRows()) {
      int width = r.channelTo - r.channelFrom;
      for (long o = r.outerFrom; o < r.outerTo; o += l.rowsPerTile) {
        int m = (int) Math.min(l.rowsPerTile, r.outerTo - o) * width;
        long gate = o / l.rowsPerTile * l.gateStride() + (r.channelFrom >> 3);
        long e = o * l.channels + r.channelFrom;
        span(verb, n, slot, e, m, gate, r.channelFrom, r.channelTo, o - r.outerFrom, s);
      }
      return;
    }
    for (int c = r.channelFrom; c < r.channelTo; c++) {
      long before = 0;
      for (long o = r.outerFrom; o < r.outerTo; o++) {
        long plane = o * l.channels + c;
        for (long i = r.innerFrom; i < r.innerTo; i += Scratch.CHUNK) {
          int m = (int) Math.min(Scratch.CHUNK, r.innerTo - i);
          long gate = plane * l.gateStride() + (i >> 3);
          span(verb, n, slot, plane * l.inner + i, m, gate, c, c + 1, before, s);
          before += m;
        }
      }
    }
  }

  private static void span(
      Verb verb,
      NormCall n,
      int slot,
      long e,
      int m,
      long gate,
      int from,
      int to,
      long before,
      Scratch s) {
    n.x.get(e, s.xd, 0, m);
    switch (verb) {
      case MOMENTS -> moments(n, slot, m, from, to, before, s);
      case NORMALIZE -> normalize(n, e, m, gate, from, to, s);
      case SUMS -> {
        loadGated(n, e, m, gate, from, to, s);
        for (int j = 0, c = from; j < m; j++, c = c + 1 == to ? from : c + 1) {
          n.per.part[slot + c] += s.dyd[j];
          n.per.part2[slot + c] += s.dyd[j] * (s.xd[j] - n.per.center[c]);
        }
      }
      case GRADIENT -> {
        loadGated(n, e, m, gate, from, to, s);
        for (int j = 0, c = from; j < m; j++, c = c + 1 == to ? from : c + 1) {
          double v = s.dyd[j] * n.per.scale[c];
          s.xd[j] =
              n.per.constants
                  ? v
                  : v + (s.xd[j] - n.per.center[c]) * n.per.slope[c] + n.per.offset[c];
        }
        if (n.dResidual.isPresent()) {
          n.dResidual.put(e, s.dyd, m);
        }
        n.dx.put(e, s.xd, m);
      }
      default -> throw new AssertionError(verb);
    }
  }

  /** A channel alone: its mean, then M2 about it. Channels side by side: Welford's update. */
  private static void moments(
      NormCall n, int slot, int m, int from, int to, long before, Scratch s) {
    double[] mean = n.per.part;
    double[] m2 = n.per.part2;
    if (to - from > 1) {
      double each = 0;
      for (int j = 0, c = from; j < m; j++, c = c + 1 == to ? from : c + 1) {
        if (c == from) {
          each = 1.0 / ++before;
        }
        double d = s.xd[j] - mean[slot + c];
        mean[slot + c] += d * each;
        m2[slot + c] += d * (s.xd[j] - mean[slot + c]);
      }
      return;
    }
    double first = s.xd[0];
    double sum = 0;
    for (int j = 0; j < m; j++) {
      sum += s.xd[j] - first;
    }
    double here = first + sum / m;
    double around = 0;
    for (int j = 0; j < m; j++) {
      double d = s.xd[j] - here;
      around += d * d;
    }
    double d = here - mean[slot + from];
    double w = (double) m / (before + m);
    mean[slot + from] += d * w;
    m2[slot + from] += around + d * d * w * before;
  }

  /** The value before residual and activation; the backward's gate takes it again. */
  private static double affine(NormCall n, double x, int c) {
    return (x - n.per.center[c]) * n.per.scale[c] + n.per.shift[c];
  }

  private static void normalize(NormCall n, long e, int m, long gate, int from, int to, Scratch s) {
    for (int j = 0, c = from; j < m; j++, c = c + 1 == to ? from : c + 1) {
      s.xd[j] = affine(n, s.xd[j], c);
    }
    if (n.residual.isPresent()) {
      n.residual.get(e, s.otherd, 0, m);
      for (int j = 0; j < m; j++) {
        s.xd[j] += s.otherd[j];
      }
    }
    if (n.relu) {
      Arrays.fill(s.bytes, 0, (m + 7) >> 3, (byte) 0);
      for (int j = 0; j < m; j++) {
        if (s.xd[j] <= 0) {
          s.xd[j] = 0;
        } else {
          s.bytes[j >> 3] |= (byte) (1 << (j & 7));
        }
      }
      if (n.gate != null) {
        n.gate.put(n.gateAt + gate, s.bytes, 0, (m + 7) >> 3);
      }
    }
    n.y.put(e, s.xd, m);
  }

  private static void loadGated(NormCall n, long e, int m, long gate, int from, int to, Scratch s) {
    n.dy.get(e, s.dyd, 0, m);
    if (!n.relu) {
      return;
    }
    if (n.gate != null) {
      n.gate.get(n.gateAt + gate, s.bytes, 0, (m + 7) >> 3);
      for (int j = 0; j < m; j++) {
        if ((s.bytes[j >> 3] >> (j & 7) & 1) == 0) {
          s.dyd[j] = 0;
        }
      }
    } else {
      for (int j = 0, c = from; j < m; j++, c = c + 1 == to ? from : c + 1) {
        if (affine(n, s.xd[j], c) <= 0) {
          s.dyd[j] = 0;
        }
      }
    }
  }
}
