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
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.Isa;

/**
 * One normalization verb at a time: splits it into ranges and joins what they found. One per Java
 * thread, kept with its arrays.
 */
final class NormCall extends Job {
  /** Below this many bytes of x, waking other threads costs more than they bring. */
  private static final long ALONE_BYTES = 96 << 10;

  /** Of x, in a nanosecond of one thread, about. */
  private static final int BYTES_PER_NANO = 20;

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

  private final Layout layout = new Layout();
  private NormKernels kernels;
  private Phase phase;
  private boolean overlaps;

  /**
   * Whether numbers per channel are computed in Java, into {@link #per}: by kernels in Java, and
   * where a channel needs them.
   */
  private boolean inJava;

  final Data x = new Data();
  final Data y = new Data();
  final Data residual = new Data();
  final Data dy = new Data();
  final Data dx = new Data();
  final Data dResidual = new Data();
  private final Data[] data = {x, y, residual, dy, dx, dResidual};
  final Channels per = new Channels();
  boolean relu;

  /** Whether the caches have room for a larger result: {@link Stores#arePast}. */
  boolean isKept;

  /**
   * Whether native kernels round a product and a sum at once: then those in Java, which take some
   * channels of a wide one's range, must do so too, or a gate recomputed there may differ.
   */
  final boolean fused;

  // What a verb is given per channel; null where it has none.
  Saved saved;
  Affine affine;
  Running running;
  Sums sums;
  double eps;

  /** The ReLU gate, or null where it is not kept or not wanted. */
  HostStorage gate;

  long gateAt;

  NormCall(Workers workers, Isa isa, Stores stores) {
    this.workers = workers;
    fused = isa != null && isa != Isa.SSE2;
    floats = isa == null ? FloatNorm.INSTANCE : new NativeNorm(isa, stores);
  }

  Layout layout() {
    return layout;
  }

  /** How many tensors of the data's size the verb reads or writes. */
  int tensors() {
    int n = 0;
    for (Data d : data) {
      n += d.isPresent() ? 1 : 0;
    }
    return n;
  }

  private void open(Tensor data) {
    per.narrow = data.dtype() != DType.F64;
    kernels = per.narrow ? floats : DoubleNorm.INSTANCE;
    layout.set(data.shape(), kernels.columns());
    x.set(data);
    y.set(null);
    residual.set(null);
    dy.set(null);
    dx.set(null);
    dResidual.set(null);
    saved = null;
    affine = Affine.NONE;
    running = null;
    sums = null;
    gate = null;
    per.room(layout.channels);
    per.count = layout.valuesPerChannel();
    per.constants = false;
    isKept = false;
  }

  private void openForward(Tensor data, Activation f, Tensor res, Saved s, Tensor to) {
    open(data);
    y.set(to);
    residual.set(res);
    isKept = true;
    relu = f == Activation.RELU;
    saved(s, relu);
  }

  private void openBackward(Tensor grad, Tensor data, Saved s, Activation f) {
    open(data);
    dy.set(grad);
    relu = f == Activation.RELU;
    saved(s, relu);
    HostStorage count = (HostStorage) s.count().storage();
    per.count = count.getLong(s.count().byteOffset());
    per.constants = per.count == 0;
  }

  private void saved(Saved s, boolean gated) {
    saved = s;
    if (gated && s != null && s.gate() != null) {
      gate = (HostStorage) s.gate().storage();
      gateAt = s.gate().byteOffset();
    }
  }

  /** Tells the kernels what the verb works on. */
  private void begin() {
    per.roomForParts(layout.stripes);
    inJava = layout.elements == 0 || !kernels.begin(this);
  }

  private void launch(Phase p) {
    phase = p;
    overlaps = p == Phase.FORWARD && kernels.overlaps(this);
    layout.split(
        switch (p) {
          case NORMALIZE, GRADIENT -> Layout.Split.ELEMENTS;
          case BACKWARD, SUMS -> Layout.Split.SUMS_OF_TWO;
          case FORWARD, MOMENTS -> Layout.Split.SUMS;
        });
    long bytes = layout.elements * x.width;
    if (bytes < ALONE_BYTES) {
      workers.runAlone(this, layout.items());
    } else {
      workers.run(this, layout.items(), bytes / BYTES_PER_NANO);
    }
  }

  @Override
  void run(int item, Scratch s) {
    Range r = layout.range(item, s.range);
    switch (phase) {
      case FORWARD -> {
        read(r, s);
        finishForward(r.channelFrom, r.channelTo, s);
        if (overlaps) {
          s.postpone();
        } else {
          kernels(r).normalize(this, r, s);
        }
      }
      case MOMENTS -> kernels.moments(this, r, s);
      case NORMALIZE -> kernels(r).normalize(this, r, s);
      case BACKWARD -> {
        gradientSums(r, s);
        finishBackward(r.channelFrom, r.channelTo, s);
        kernels(r).inputGradient(this, r, s);
      }
      case SUMS -> gradientSums(r, s);
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

  private void gradientSums(Range r, Scratch s) {
    NormKernels k = kernels(r);
    k.gradientSums(this, r, s);
    if (inJava && k == kernels) {
      kernels.take(this, r);
    }
  }

  /** The kernels of a range whose coefficients are known: only those in Java know wide channels. */
  private NormKernels kernels(Range r) {
    r.wide = false;
    for (int c = r.channelFrom; c < r.channelTo; c++) {
      r.wide |= per.wide[c];
    }
    return r.wide ? FloatNorm.INSTANCE : kernels;
  }

  /** Coefficients of channels whose moments are known in all stripes. */
  private void finishForward(int from, int to, Scratch s) {
    if (!inJava) {
      if (kernels.finishMoments(this, from, to)) {
        Arrays.fill(per.wide, from, to, false);
        return;
      }
      for (int i = 0; i < layout.stripes; i++) {
        kernels.take(this, i, from, to);
      }
      per.affine(affine, eps, from, to, s);
    }
    per.finishMoments(layout, from, to);
    per.finishCoefficients(from, to);
    if (inJava && layout.elements > 0) {
      kernels.coefficients(this, from, to, s);
    }
  }

  private void finishBackward(int from, int to, Scratch s) {
    if (inJava) {
      per.finishSums(layout.stripes, from, to);
      per.finishSlopes(from, to);
      if (layout.elements > 0) {
        kernels.slopes(this, from, to, s);
      }
    } else {
      kernels.finishSums(this, from, to);
    }
  }

  /** The coefficients that {@link #saved} has, native where that is enough. */
  private void load() {
    if (!inJava && kernels.load(this)) {
      Arrays.fill(per.wide, 0, layout.channels, false);
      return;
    }
    per.read(saved, workers.scratch());
    if (!inJava) {
      inJava = true;
    } else if (layout.elements > 0) {
      kernels.coefficients(this, 0, layout.channels, workers.scratch());
    }
  }

  void moments(Tensor data, Moments out) {
    open(data);
    begin();
    launch(Phase.MOMENTS);
    if (!inJava) {
      for (int i = 0; i < layout.stripes; i++) {
        kernels.take(this, i, 0, layout.channels);
      }
    }
    per.finishMoments(layout, 0, layout.channels);
    per.write(out, workers.scratch());
  }

  void forward(
      Tensor data,
      Affine affine,
      double eps,
      Activation f,
      Tensor res,
      Saved out,
      Tensor to,
      boolean isReadNext) {
    openForward(data, f, res, out, to);
    isKept = isReadNext;
    this.affine = affine;
    this.eps = eps;
    begin();
    Scratch s = workers.scratch();
    if (inJava) {
      per.affine(affine, eps, 0, layout.channels, s);
    }
    if (layout.stripes == 1) {
      launch(Phase.FORWARD);
    } else {
      launch(Phase.MOMENTS);
      finishForward(0, layout.channels, s);
      launch(Phase.NORMALIZE);
    }
    if (inJava) {
      per.save(out, s);
    } else {
      ((HostStorage) out.count().storage()).putLong(out.count().byteOffset(), per.count);
    }
  }

  void normalize(Tensor data, Saved s, Activation f, Tensor res, Tensor to) {
    openForward(data, f, res, s, to);
    begin();
    load();
    launch(Phase.NORMALIZE);
  }

  void infer(
      Tensor data, Running r, Affine affine, double eps, Activation f, Tensor res, Tensor to) {
    openForward(data, f, res, null, to);
    running = r;
    this.affine = affine;
    this.eps = eps;
    begin();
    if (!inJava && kernels.loadRunning(this)) {
      Arrays.fill(per.wide, 0, layout.channels, false);
    } else {
      Scratch s = workers.scratch();
      per.read(r, affine, eps, s);
      if (inJava && layout.elements > 0) {
        kernels.coefficients(this, 0, layout.channels, s);
      }
    }
    launch(Phase.NORMALIZE);
  }

  void coefficients(Moments m, Affine affine, double eps, Saved out) {
    openCoefficients(out);
    Scratch s = workers.scratch();
    per.read(m, s);
    per.affine(affine, eps, 0, per.channels, s);
    per.finishCoefficients(0, per.channels);
    per.save(out, s);
  }

  void coefficients(Running r, Affine affine, double eps, Saved out) {
    openCoefficients(out);
    Scratch s = workers.scratch();
    per.read(r, affine, eps, s);
    per.save(out, s);
  }

  private void openCoefficients(Saved out) {
    per.narrow = out.scale().dtype() != DType.F64;
    per.room(Math.toIntExact(out.channels()));
  }

  void backward(
      Tensor grad, Tensor data, Saved s, Activation f, Sums out, Tensor to, Tensor toResidual) {
    openBackward(grad, data, s, f);
    dx.set(to);
    dResidual.set(toResidual);
    sums = out;
    begin();
    load();
    if (layout.stripes == 1) {
      launch(Phase.BACKWARD);
    } else {
      launch(Phase.SUMS);
      finishBackward(0, layout.channels, workers.scratch());
      launch(Phase.GRADIENT);
    }
    writeSums();
  }

  void gradientSums(Tensor grad, Tensor data, Saved s, Activation f, Sums out) {
    openBackward(grad, data, s, f);
    sums = out;
    begin();
    load();
    launch(Phase.SUMS);
    finishBackward(0, layout.channels, workers.scratch());
    writeSums();
  }

  private void writeSums() {
    if (inJava) {
      per.write(sums, workers.scratch());
    }
  }

  void inputGradient(
      Tensor grad, Tensor data, Saved s, Sums total, Activation f, Tensor to, Tensor toResidual) {
    openBackward(grad, data, s, f);
    dx.set(to);
    dResidual.set(toResidual);
    begin();
    inJava = true;
    load();
    Scratch scratch = workers.scratch();
    per.read(total, scratch);
    per.finishSlopes(0, layout.channels);
    if (layout.elements > 0) {
      kernels.slopes(this, 0, layout.channels, scratch);
    }
    launch(Phase.GRADIENT);
  }
}
