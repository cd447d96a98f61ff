package org.fusednorm.cpu;

import java.util.Arrays;
import org.fusednorm.Affine;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Sums;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;

/**
 * What a call knows of each channel, and how it follows from the sums of the stripes, in F64. For
 * native kernels native code does the same by the same operations (channels.h), and these arrays
 * are filled only where a channel needs the kernels in Java.
 */
final class Channels {
  /**
   * Up to here a center cannot make x - c overflow: half a unit in the last place of the largest.
   */
  private static final double FAR = 0x1p100;

  /**
   * Up to here, and from its inverse on, F32 holds products of two deviations or their inverses.
   */
  private static final double STEEP = 0x1p50;

  int channels;

  /** Whether coefficients are rounded to F32. */
  boolean narrow;

  /** Whether dx is a dy alone, the statistics being constants. */
  boolean constants;

  // Per channel. Coefficients are rounded to the type that kernels compute in.
  double[] mean = {};
  double[] variance = {};
  double[] invstd = {};
  double[] center = {};
  double[] scale = {};
  double[] shift = {};
  double[] slope = {};
  double[] offset = {};

  /**
   * Channels whose values F32 lanes would lose to overflow or underflow. Depends on center and
   * invstd alone, so that forward and backward take them alike.
   */
  boolean[] wide = {};

  private double[] gamma = {};
  private double[] beta = {};
  private double[] sumDy = {};
  private double[] sumDyXhat = {};
  private double eps;

  /** Values per channel, or 0 where the statistics are constants. */
  long count;

  // Per stripe and channel: mean and M2, or the two sums of gradients.
  double[] part = {};
  double[] part2 = {};

  void room(int channels) {
    this.channels = channels;
    if (mean.length < channels) {
      mean = new double[channels];
      variance = new double[channels];
      invstd = new double[channels];
      center = new double[channels];
      scale = new double[channels];
      shift = new double[channels];
      slope = new double[channels];
      offset = new double[channels];
      wide = new boolean[channels];
      gamma = new double[channels];
      beta = new double[channels];
      sumDy = new double[channels];
      sumDyXhat = new double[channels];
    }
  }

  void roomForParts(int stripes) {
    int n = stripes * channels;
    if (part.length < n) {
      part = new double[n];
      part2 = new double[n];
    }
  }

  /** Reads what a forward saved. */
  void read(Saved saved, Scratch s) {
    count = ((HostStorage) saved.count().storage()).getLong(saved.count().byteOffset());
    constants = count == 0;
    Params.read(saved.mean(), 0, mean, channels, s);
    Params.read(saved.center(), 0, center, channels, s);
    Params.read(saved.scale(), 0, scale, channels, s);
    Params.read(saved.shift(), 0, shift, channels, s);
    Params.read(saved.invstd(), 0, invstd, channels, s);
    for (int c = 0; c < channels; c++) {
      wide[c] = isWide(c);
    }
  }

  private boolean isWide(int c) {
    boolean steep = invstd[c] > STEEP || (invstd[c] > 0 && invstd[c] < 1 / STEEP);
    // About an infinite center everything is NaN, in any arithmetic.
    boolean far = Math.abs(center[c]) > FAR && !Double.isInfinite(center[c]);
    return narrow && (steep || far);
  }

  /** Reads gamma and beta. */
  void affine(Affine affine, double e, int from, int to, Scratch s) {
    Params.read(affine.gamma(), 1, gamma, from, to, s);
    Params.read(affine.beta(), 0, beta, from, to, s);
    eps = e;
  }

  /** Coefficients of running statistics. */
  void read(Running r, Affine affine, double e, Scratch s) {
    Params.read(r.mean(), 0, mean, channels, s);
    Params.read(r.variance(), 0, variance, channels, s);
    affine(affine, e, 0, channels, s);
    count = 0;
    finishVariances(0, channels);
  }

  /** Merges the stripes' moments in order, by Chan's formula, into mean and (as M2) variance. */
  void finishMoments(Layout layout, int from, int to) {
    if (layout.stripes == 0) {
      Arrays.fill(mean, from, to, 0);
      Arrays.fill(variance, from, to, 0);
      return;
    }
    System.arraycopy(part, from, mean, from, to - from);
    System.arraycopy(part2, from, variance, from, to - from);
    if (layout.stripes == 1) {
      return;
    }
    long before = layout.stripeCount(0);
    for (int i = 1; i < layout.stripes; i++) {
      long n = layout.stripeCount(i);
      double w = (double) n / (before + n);
      double v = w * before;
      int slot = i * channels;
      for (int c = from; c < to; c++) {
        double d = part[slot + c] - mean[c];
        mean[c] += d * w;
        variance[c] += part2[slot + c] + d * d * v;
      }
      before += n;
    }
  }

  /** Coefficients from mean and M2. */
  void finishCoefficients(int from, int to) {
    for (int c = from; c < to; c++) {
      variance[c] = count == 0 ? 0 : variance[c] / count;
    }
    finishVariances(from, to);
  }

  private void finishVariances(int from, int to) {
    for (int c = from; c < to; c++) {
      // A constant channel with eps 0 is beta, and its gradient 0.
      double inv = variance[c] + eps == 0 ? 0 : 1 / Math.sqrt(variance[c] + eps);
      double a = gamma[c] * inv;
      double m = narrow ? (float) mean[c] : mean[c];
      double b = beta[c] - (mean[c] - m) * a;
      invstd[c] = inv;
      center[c] = m;
      scale[c] = narrow ? (float) a : a;
      shift[c] = narrow ? (float) b : b;
      wide[c] = isWide(c);
    }
  }

  /** Mean and M2 from moments that were exchanged. */
  void read(Moments m, Scratch s) {
    HostStorage packed = (HostStorage) m.packed().storage();
    count = (long) packed.getDouble(m.packed().byteOffset());
    Params.read(m.mean(), 0, mean, channels, s);
    Params.read(m.m2(), 0, variance, channels, s);
  }

  void write(Moments out, Scratch s) {
    HostStorage packed = (HostStorage) out.packed().storage();
    packed.putDouble(out.packed().byteOffset(), count);
    Params.write(out.mean(), mean, channels, Write.SET, s);
    Params.write(out.m2(), variance, channels, Write.SET, s);
  }

  void save(Saved out, Scratch s) {
    int n = channels;
    ((HostStorage) out.count().storage()).putLong(out.count().byteOffset(), count);
    Params.write(out.mean(), mean, n, Write.SET, s);
    Params.write(out.variance(), variance, n, Write.SET, s);
    Params.write(out.invstd(), invstd, n, Write.SET, s);
    Params.write(out.center(), center, n, Write.SET, s);
    Params.write(out.scale(), scale, n, Write.SET, s);
    Params.write(out.shift(), shift, n, Write.SET, s);
  }

  /** Adds the stripes' sums in order and turns g (x - c) into g xhat. */
  void finishSums(int stripes, int from, int to) {
    Arrays.fill(sumDy, from, to, 0);
    Arrays.fill(sumDyXhat, from, to, 0);
    for (int i = 0; i < stripes; i++) {
      int slot = i * channels;
      for (int c = from; c < to; c++) {
        sumDy[c] += part[slot + c];
        sumDyXhat[c] += part2[slot + c];
      }
    }
    for (int c = from; c < to; c++) {
      sumDyXhat[c] = (sumDyXhat[c] + (center[c] - mean[c]) * sumDy[c]) * invstd[c];
    }
  }

  void finishSlopes(int from, int to) {
    if (constants) {
      Arrays.fill(slope, from, to, 0);
      Arrays.fill(offset, from, to, 0);
      return;
    }
    for (int c = from; c < to; c++) {
      double perValue = sumDyXhat[c] * invstd[c] / count;
      double p = -scale[c] * perValue;
      double q = -scale[c] * (sumDy[c] / count + (center[c] - mean[c]) * perValue);
      slope[c] = p;
      offset[c] = q;
    }
  }

  void read(Sums total, Scratch s) {
    Params.read(total.dy(), 0, sumDy, channels, s);
    Params.read(total.dyXhat(), 0, sumDyXhat, channels, s);
  }

  void write(Sums out, Scratch s) {
    Params.write(out.dy(), sumDy, channels, Write.SET, s);
    Params.write(out.dyXhat(), sumDyXhat, channels, Write.SET, s);
  }
}
