package org.fusednorm.cpu;

import java.util.Arrays;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.Isa;

/**
 * One normalization verb at a time: splits it into ranges, merges what they found and computes what
 * is per channel, in F64. One per Java thread, kept with its arrays.
 */
final class NormCall extends Job {
  /** Below this many bytes of x, waking other threads costs more than they bring. */
  private static final long ALONE_BYTES = 96 << 10;

  /**
   * Up to here a center cannot make x - c overflow: half a unit in the last place of the largest.
   */
  private static final double FAR = 0x1p100;

  /**
   * Up to here, and from its inverse on, F32 holds products of two deviations or their inverses.
   */
  private static final double STEEP = 0x1p50;

  private enum Phase {
    FORWARD,
    MOMENTS,
    NORMALIZE,
    BACKWARD,
    SUMS,
    GRADIENT
  }

  private final Workers workers;

  /** The kernels for all types but F64. */
  private final NormKernels floats;

  private final Layout layout;
  private NormKernels kernels;
  private Phase phase;
  private boolean overlaps;
  private boolean narrow;

  final Data x = new Data();
  final Data y = new Data();
  final Data residual = new Data();
  final Data dy = new Data();
  final Data dx = new Data();
  final Data dResidual = new Data();
  boolean relu;

  /** Whether dx is a dy alone, the statistics being constants. */
  boolean constants;

  /** The ReLU gate, or null where it is not kept or not wanted. */
  HostStorage gate;

  long gateAt;

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
  private long count;

  // Per stripe and channel: mean and M2, or the two sums of gradients.
  double[] part = {};
  double[] part2 = {};

  NormCall(Workers workers, Isa isa) {
    this.workers = workers;
    floats = isa == null ? FloatNorm.INSTANCE : new NativeNorm(isa);
    layout = new Layout(workers.threads());
  }

  Layout layout() {
    return layout;
  }

  private void open(Tensor data) {
    narrow = data.dtype() != DType.F64;
    kernels = narrow ? floats : DoubleNorm.INSTANCE;
    layout.set(data.shape(), kernels.columns());
    x.set(data);
    y.set(null);
    residual.set(null);
    dy.set(null);
    dx.set(null);
    dResidual.set(null);
    gate = null;
    room(layout.channels);
  }

  private void room(int channels) {
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

  private void roomForParts() {
    int n = layout.stripes * layout.channels;
    if (part.length < n) {
      part = new double[n];
      part2 = new double[n];
    }
  }

  private void gate(Saved s, boolean wanted) {
    if (wanted && s.gate() != null) {
      gate = (HostStorage) s.gate().storage();
      gateAt = s.gate().byteOffset();
    }
  }

  private void launch(Phase p) {
    phase = p;
    layout.split(
        switch (p) {
          case NORMALIZE, GRADIENT -> Layout.Split.ELEMENTS;
          case BACKWARD, SUMS -> Layout.Split.SUMS_OF_TWO;
          case FORWARD, MOMENTS -> Layout.Split.SUMS;
        });
    overlaps = p == Phase.FORWARD && kernels.overlaps(this);
    if (layout.elements > 0) {
      kernels.begin(this);
      if (p != Phase.FORWARD && p != Phase.MOMENTS) {
        kernels.coefficients(this, 0, layout.channels, workers.scratch());
      }
      if (p == Phase.GRADIENT) {
        kernels.slopes(this, 0, layout.channels, workers.scratch());
      }
    }
    if (layout.elements * x.width < ALONE_BYTES) {
      workers.runAlone(this, layout.items());
    } else {
      workers.run(this, layout.items());
    }
  }

  @Override
  void run(int item, Scratch s) {
    Range r = layout.range(item, s.range);
    switch (phase) {
      case FORWARD -> {
        read(r, s);
        finishMoments(r.channelFrom, r.channelTo);
        finishCoefficients(r.channelFrom, r.channelTo);
        kernels.coefficients(this, r.channelFrom, r.channelTo, s);
        if (overlaps) {
          s.postpone();
        } else {
          kernels(r).normalize(this, r, s);
        }
      }
      case MOMENTS -> kernels.moments(this, r, s);
      case NORMALIZE -> kernels(r).normalize(this, r, s);
      case BACKWARD -> {
        kernels(r).gradientSums(this, r, s);
        finishSums(r.channelFrom, r.channelTo);
        finishSlopes(r.channelFrom, r.channelTo);
        kernels.slopes(this, r.channelFrom, r.channelTo, s);
        kernels(r).inputGradient(this, r, s);
      }
      case SUMS -> kernels(r).gradientSums(this, r, s);
      case GRADIENT -> kernels(r).inputGradient(this, r, s);
      default -> throw new AssertionError(phase);
    }
  }

  /** The moments of a range, and with them what the item before left to be done. */
  private void read(Range r, Scratch s) {
    if (s.isPending && kernels(s.pending) == kernels) {
      s.isPending = false;
      kernels.normalizeAndMoments(this, s.pending, r);
    } else {
      writePending(s);
      kernels.moments(this, r, s);
    }
  }

  private void writePending(Scratch s) {
    if (s.isPending) {
      s.isPending = false;
      kernels(s.pending).normalize(this, s.pending, s);
    }
  }

  @Override
  void end(Scratch s, boolean whole) {
    if (whole) {
      writePending(s);
    }
    s.isPending = false;
  }

  /** The kernels of a range whose coefficients are known: only those in Java know wide channels. */
  private NormKernels kernels(Range r) {
    r.wide = false;
    for (int c = r.channelFrom; c < r.channelTo; c++) {
      r.wide |= wide[c];
    }
    return r.wide ? FloatNorm.INSTANCE : kernels;
  }

  void moments(Tensor data, Moments out) {
    open(data);
    roomForParts();
    launch(Phase.MOMENTS);
    finishMoments(0, layout.channels);
    Scratch s = workers.scratch();
    HostStorage h = (HostStorage) out.packed().storage();
    h.putDouble(out.packed().byteOffset(), layout.valuesPerChannel());
    Params.write(out.mean(), mean, layout.channels, Write.SET, s);
    Params.write(out.m2(), variance, layout.channels, Write.SET, s);
  }

  void forward(
      Tensor data, Affine affine, double eps, Activation f, Tensor res, Saved out, Tensor to) {
    open(data);
    y.set(to);
    residual.set(res);
    relu = f == Activation.RELU;
    gate(out, relu);
    roomForParts();
    Scratch s = workers.scratch();
    int channels = layout.channels;
    affine(affine, eps, s);
    count = layout.valuesPerChannel();
    if (layout.stripes == 1) {
      launch(Phase.FORWARD);
    } else {
      launch(Phase.MOMENTS);
      finishMoments(0, channels);
      finishCoefficients(0, channels);
      launch(Phase.NORMALIZE);
    }
    save(out, s);
  }

  void normalize(Tensor data, Saved saved, Activation f, Tensor res, Tensor to) {
    open(data);
    y.set(to);
    residual.set(res);
    relu = f == Activation.RELU;
    gate(saved, relu);
    readCoefficients(saved, workers.scratch());
    launch(Phase.NORMALIZE);
  }

  void infer(
      Tensor data, Running r, Affine affine, double eps, Activation f, Tensor res, Tensor to) {
    open(data);
    y.set(to);
    residual.set(res);
    relu = f == Activation.RELU;
    constantCoefficients(r, affine, eps, workers.scratch());
    launch(Phase.NORMALIZE);
  }

  void coefficients(Moments m, Affine affine, double eps, Saved out) {
    Scratch s = workers.scratch();
    narrow = out.scale().dtype() != DType.F64;
    layout.channels = Math.toIntExact(out.channels());
    room(layout.channels);
    Tensor packed = m.packed();
    count = (long) ((HostStorage) packed.storage()).getDouble(packed.byteOffset());
    Params.read(m.mean(), 0, mean, layout.channels, s);
    Params.read(m.m2(), 0, variance, layout.channels, s);
    affine(affine, eps, s);
    finishCoefficients(0, layout.channels);
    save(out, s);
  }

  void coefficients(Running r, Affine affine, double eps, Saved out) {
    Scratch s = workers.scratch();
    narrow = out.scale().dtype() != DType.F64;
    layout.channels = Math.toIntExact(out.channels());
    room(layout.channels);
    constantCoefficients(r, affine, eps, s);
    save(out, s);
  }

  void backward(
      Tensor grad, Tensor data, Saved saved, Activation f, Sums out, Tensor to, Tensor toResidual) {
    openBackward(grad, data, saved, f);
    dx.set(to);
    dResidual.set(toResidual);
    roomForParts();
    if (layout.stripes == 1) {
      launch(Phase.BACKWARD);
    } else {
      launch(Phase.SUMS);
      finishSums(0, layout.channels);
      finishSlopes(0, layout.channels);
      launch(Phase.GRADIENT);
    }
    writeSums(out);
  }

  void gradientSums(Tensor grad, Tensor data, Saved saved, Activation f, Sums out) {
    openBackward(grad, data, saved, f);
    roomForParts();
    launch(Phase.SUMS);
    finishSums(0, layout.channels);
    writeSums(out);
  }

  void inputGradient(
      Tensor grad,
      Tensor data,
      Saved saved,
      Sums total,
      Activation f,
      Tensor to,
      Tensor toResidual) {
    openBackward(grad, data, saved, f);
    dx.set(to);
    dResidual.set(toResidual);
    Scratch s = workers.scratch();
    Params.read(total.dy(), 0, sumDy, layout.channels, s);
    Params.read(total.dyXhat(), 0, sumDyXhat, layout.channels, s);
    finishSlopes(0, layout.channels);
    launch(Phase.GRADIENT);
  }

  private void openBackward(Tensor grad, Tensor data, Saved saved, Activation f) {
    open(data);
    dy.set(grad);
    relu = f == Activation.RELU;
    gate(saved, relu);
    Scratch s = workers.scratch();
    readCoefficients(saved, s);
    Params.read(saved.mean(), 0, mean, layout.channels, s);
    count = ((HostStorage) saved.count().storage()).getLong(saved.count().byteOffset());
    constants = count == 0;
  }

  private void readCoefficients(Saved saved, Scratch s) {
    Params.read(saved.center(), 0, center, layout.channels, s);
    Params.read(saved.scale(), 0, scale, layout.channels, s);
    Params.read(saved.shift(), 0, shift, layout.channels, s);
    Params.read(saved.invstd(), 0, invstd, layout.channels, s);
    for (int c = 0; c < layout.channels; c++) {
      wide[c] = isWide(c);
    }
  }

  private boolean isWide(int c) {
    boolean steep = invstd[c] > STEEP || (invstd[c] > 0 && invstd[c] < 1 / STEEP);
    // About an infinite center everything is NaN, in any arithmetic.
    boolean far = Math.abs(center[c]) > FAR && !Double.isInfinite(center[c]);
    return narrow && (steep || far);
  }

  private void affine(Affine affine, double e, Scratch s) {
    Params.read(affine.gamma(), 1, gamma, layout.channels, s);
    Params.read(affine.beta(), 0, beta, layout.channels, s);
    eps = e;
  }

  private void constantCoefficients(Running r, Affine affine, double e, Scratch s) {
    Params.read(r.mean(), 0, mean, layout.channels, s);
    Params.read(r.variance(), 0, variance, layout.channels, s);
    affine(affine, e, s);
    count = 0;
    finishVariances(0, layout.channels);
  }

  /** Merges the stripes' moments in order, by Chan's formula, into mean and (as M2) variance. */
  private void finishMoments(int from, int to) {
    int channels = layout.channels;
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

  private void finishCoefficients(int from, int to) {
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

  private void save(Saved out, Scratch s) {
    int n = layout.channels;
    ((HostStorage) out.count().storage()).putLong(out.count().byteOffset(), count);
    Params.write(out.mean(), mean, n, Write.SET, s);
    Params.write(out.variance(), variance, n, Write.SET, s);
    Params.write(out.invstd(), invstd, n, Write.SET, s);
    Params.write(out.center(), center, n, Write.SET, s);
    Params.write(out.scale(), scale, n, Write.SET, s);
    Params.write(out.shift(), shift, n, Write.SET, s);
  }

  /** Adds the stripes' sums in order and turns g (x - c) into g xhat. */
  private void finishSums(int from, int to) {
    Arrays.fill(sumDy, from, to, 0);
    Arrays.fill(sumDyXhat, from, to, 0);
    for (int i = 0; i < layout.stripes; i++) {
      int slot = i * layout.channels;
      for (int c = from; c < to; c++) {
        sumDy[c] += part[slot + c];
        sumDyXhat[c] += part2[slot + c];
      }
    }
    for (int c = from; c < to; c++) {
      sumDyXhat[c] = (sumDyXhat[c] + (center[c] - mean[c]) * sumDy[c]) * invstd[c];
    }
  }

  private void finishSlopes(int from, int to) {
    if (constants) {
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

  private void writeSums(Sums out) {
    Scratch s = workers.scratch();
    Params.write(out.dy(), sumDy, layout.channels, Write.SET, s);
    Params.write(out.dyXhat(), sumDyXhat, layout.channels, Write.SET, s);
  }
}
