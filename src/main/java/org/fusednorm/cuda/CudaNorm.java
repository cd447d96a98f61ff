package org.fusednorm.cuda;

import java.util.Arrays;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.cuda.NormPlan.Cut;
import org.fusednorm.cuda.NormPlan.Direction;

/**
 * The verbs of {@link org.fusednorm.NormOps} on a GPU. Each is called by {@link CudaEngine} alone,
 * one at a time and with the context bound, with arguments that were validated; it may only queue
 * work on {@link Launches#stream()}, because it may be at work in a capture: no allocation but
 * {@link Launches#workspace}, no copy to or from the host, no wait.
 *
 * <p>The arguments of a launch are written in the order of its struct in {@code cuda/*.cu}.
 */
final class CudaNorm {
  /** Every entry that is called from here. */
  static final List<String> ENTRIES =
      List.of(
          "forward_f32",
          "forward_half",
          "moments_scalar",
          "moments_f64",
          "normalize_f32",
          "normalize_half",
          "normalize_scalar",
          "normalize_f64",
          "backward_f32",
          "backward_half",
          "gradient_sums_scalar",
          "gradient_sums_f64",
          "input_gradient_f32",
          "input_gradient_half",
          "input_gradient_scalar",
          "input_gradient_f64",
          "channel_moments",
          "channel_sums",
          "channel_merge",
          "channel_merge_sums",
          "channel_coefficients",
          "channel_slopes",
          "channel_gradients",
          "commit");

  /** The enum Mode of {@code tickets.cuh}. */
  private static final int SUMS = 0;

  private static final int APPLY = 1;
  private static final int BOTH = 2;

  /** The constant kMostCommits of {@code channels.cu}. */
  private static final int MOST_COMMITS = 32;

  /** Blocks of the large entries that a multiprocessor has room for. */
  private static final int RESIDENT_BLOCKS = 2;

  private static final int FLAT_BLOCKS = 16;
  private static final long MOST_BLOCKS = 1 << 30;
  private static final int WARP = 32;
  private static final int PLANS = 256;
  private static final int MOST_PLANS = 4096;

  /** Off, each half of a step is a launch of its own. */
  private static final String TICKETS = "fusednorm.cuda.tickets";

  private final Launches launches;
  private final boolean mayUseTickets = !"false".equals(System.getProperty(TICKETS));
  private final NormPlan[] plans = new NormPlan[PLANS];
  private int planned;

  CudaNorm(Launches launches) {
    this.launches = launches;
  }

  /** A bit for each element, in whole words. */
  long gateBytes(Shape s) {
    return (s.elements() + WARP - 1) / WARP * (WARP / Byte.SIZE);
  }

  private NormPlan plan(Direction d, Tensor x, long addresses, boolean gate) {
    Shape s = x.shape();
    int alignment = NormPlan.alignment(addresses);
    int slot = Math.floorMod(NormPlan.hash(d, s, x.dtype(), alignment, gate), PLANS);
    for (NormPlan p = plans[slot]; p != null; p = p.next) {
      if (p.isFor(d, s, x.dtype(), alignment, gate)) {
        return p;
      }
    }
    if (planned++ == MOST_PLANS) {
      planned = 1;
      Arrays.fill(plans, null);
    }
    NormPlan made = NormPlan.of(d, s, x.dtype(), alignment, gate, launches.architecture());
    made.next = plans[slot];
    plans[slot] = made;
    return made;
  }

  private static long address(Tensor t) {
    return t == null ? 0 : t.address();
  }

  private static boolean isWide(DType t) {
    return t.parameter() == DType.F64;
  }

  private static long flag(boolean b) {
    return b ? 1 : 0;
  }

  private static int code(DType t) {
    return switch (t) {
      case F32, F64 -> 0;
      case F16 -> 1;
      case BF16 -> 2;
      default -> throw new IllegalArgumentException("no normalization of " + t);
    };
  }

  void moments(Tensor x, Moments out) {
    NormPlan plan = plan(Direction.FORWARD, x, x.address(), false);
    long parts = launches.workspace(plan.partBytes());
    if (x.shape().elements() > 0) {
      forward(plan.sums, plan, SUMS, x, 0, 0, 0, parts, null, Affine.NONE, 0, false);
    }
    Kernel k = launches.kernel("channel_moments");
    parts(k, plan, parts).arg(x.shape().channels()).arg(out.packed().address());
    saved(k, null, Affine.NONE, 0);
    launchPerWarp(k, x.shape().channels());
  }

  void merge(Tensor gathered, int parts, Moments out) {
    merge("channel_merge", gathered, parts, out.channels(), out.packed());
  }

  void merge(Tensor gathered, int parts, Sums out) {
    merge("channel_merge_sums", gathered, parts, out.channels(), out.packed());
  }

  private void merge(String entry, Tensor gathered, int parts, long channels, Tensor out) {
    Kernel k = launches.kernel(entry);
    k.arg(gathered.address()).arg((long) parts).arg(channels).arg(out.address());
    launchPerThread(k, 2 * channels);
  }

  void coefficients(Moments m, Affine a, double eps, Saved out) {
    Kernel k = launches.kernel("channel_coefficients");
    k.arg(m.packed().address()).arg(0).arg(0).arg(out.channels());
    saved(k, out, a, eps);
    launchPerThread(k, out.channels());
  }

  void coefficients(Running r, Affine a, double eps, Saved out) {
    Kernel k = launches.kernel("channel_coefficients");
    k.arg(0).arg(r.mean().address()).arg(r.variance().address()).arg(out.channels());
    saved(k, out, a, eps);
    launchPerThread(k, out.channels());
  }

  void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    if (x.shape().elements() == 0) {
      return;
    }
    boolean relu = f == Activation.RELU;
    long gate = relu ? address(s.gate()) : 0;
    NormPlan plan = forwardPlan(x, residual, y, gate);
    long r = address(residual);
    forward(plan.elements, plan, APPLY, x, r, y.address(), gate, 0, s, Affine.NONE, 0, relu);
  }

  private NormPlan forwardPlan(Tensor x, Tensor residual, Tensor y, long gate) {
    long addresses = x.address() | address(residual) | y.address();
    return plan(Direction.FORWARD, x, addresses, gate != 0);
  }

  void forward(Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    boolean relu = f == Activation.RELU;
    long gate = relu ? address(out.gate()) : 0;
    NormPlan plan = forwardPlan(x, residual, y, gate);
    long parts = launches.workspace(plan.partBytes());
    boolean empty = x.shape().elements() == 0;
    long r = address(residual);
    if (plan.tickets && mayUseTickets && !empty) {
      forward(plan.sums, plan, BOTH, x, r, y.address(), gate, parts, out, a, eps, relu);
      return;
    }
    if (!empty) {
      forward(plan.sums, plan, SUMS, x, 0, 0, 0, parts, null, Affine.NONE, 0, false);
    }
    Kernel k = launches.kernel("channel_moments");
    parts(k, plan, parts).arg(x.shape().channels()).arg(0);
    saved(k, out, a, eps);
    launchPerWarp(k, x.shape().channels());
    if (!empty) {
      forward(plan.elements, plan, APPLY, x, r, y.address(), gate, 0, out, Affine.NONE, 0, relu);
    }
  }

  /** Launches one of the entries of {@code forward.cu}: struct ForwardArgs. */
  private void forward(
      String entry,
      NormPlan plan,
      int mode,
      Tensor x,
      long residual,
      long y,
      long gate,
      long parts,
      Saved s,
      Affine a,
      double eps,
      boolean relu) {
    Kernel k = launches.kernel(entry);
    k.arg(x.address()).arg(residual).arg(y).arg(gate);
    parts(k, plan, parts);
    saved(k, s, a, eps);
    k.arg(flag(relu)).arg((long) code(x.dtype())).arg((long) mode).arg(flag(mode == APPLY));
    launch(k, plan, mode);
  }

  void infer(Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    if (x.shape().elements() == 0) {
      return;
    }
    long channels = x.shape().channels();
    long bytes = channels * x.dtype().parameter().bytes();
    long coefficients = launches.workspace(3 * bytes);
    Kernel k = launches.kernel("channel_coefficients");
    k.arg(0).arg(r.mean().address()).arg(r.variance().address()).arg(channels);
    inferred(k, coefficients, bytes, a, eps, x.dtype());
    launchPerThread(k, channels);
    NormPlan plan = forwardPlan(x, residual, y, 0);
    k = launches.kernel(plan.elements);
    k.arg(x.address()).arg(address(residual)).arg(y.address()).arg(0);
    parts(k, plan, 0);
    inferred(k, coefficients, bytes, Affine.NONE, 0, x.dtype());
    k.arg(flag(f == Activation.RELU)).arg((long) code(x.dtype())).arg((long) APPLY).arg(0);
    launch(k, plan, APPLY);
  }

  /** Struct SavedOut with coefficients alone. */
  private static void inferred(
      Kernel k, long coefficients, long bytes, Affine a, double eps, DType t) {
    k.arg(0).arg(0).arg(0).arg(0);
    k.arg(coefficients).arg(coefficients + bytes).arg(coefficients + 2 * bytes);
    k.arg(address(a.gamma())).arg(address(a.beta())).arg(eps).arg(flag(isWide(t)));
  }

  void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    long gate = f == Activation.RELU ? address(s.gate()) : 0;
    NormPlan plan = plan(Direction.BACKWARD, x, x.address() | dy.address(), gate != 0);
    long parts = launches.workspace(plan.partBytes());
    gradientSums(plan, dy, x, s, f, out, gate, parts, 0);
  }

  private void gradientSums(
      NormPlan plan,
      Tensor dy,
      Tensor x,
      Saved s,
      Activation f,
      Sums out,
      long gate,
      long parts,
      long slopes) {
    if (x.shape().elements() > 0) {
      backward(plan.sums, plan, SUMS, dy, x, null, null, s, f, gate, parts, 0, 0);
    }
    Kernel k = launches.kernel("channel_sums");
    parts(k, plan, parts).arg(x.shape().channels()).arg(out.packed().address());
    slopes(k, s, slopes);
    launchPerWarp(k, x.shape().channels());
  }

  void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    if (x.shape().elements() == 0) {
      return;
    }
    long gate = f == Activation.RELU ? address(s.gate()) : 0;
    NormPlan plan = backwardPlan(dy, x, dx, dResidual, gate);
    long slopes = launches.workspace(slopeBytes(s));
    Kernel k = launches.kernel("channel_slopes");
    k.arg(total.packed().address()).arg(s.channels());
    slopes(k, s, slopes);
    launchPerThread(k, s.channels());
    backward(plan.elements, plan, APPLY, dy, x, dx, dResidual, s, f, gate, 0, slopes, 0);
  }

  private NormPlan backwardPlan(Tensor dy, Tensor x, Tensor dx, Tensor dResidual, long gate) {
    long addresses = x.address() | dy.address() | dx.address() | address(dResidual);
    return plan(Direction.BACKWARD, x, addresses, gate != 0);
  }

  private static long slopeBytes(Saved s) {
    return 2 * s.channels() * s.scale().dtype().bytes();
  }

  void backward(Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    long gate = f == Activation.RELU ? address(s.gate()) : 0;
    NormPlan plan = backwardPlan(dy, x, dx, dResidual, gate);
    long parts = launches.workspace(plan.partBytes() + slopeBytes(s));
    long slopes = parts + plan.partBytes();
    boolean empty = x.shape().elements() == 0;
    if (plan.tickets && mayUseTickets && !empty) {
      long packed = out.packed().address();
      backward(plan.sums, plan, BOTH, dy, x, dx, dResidual, s, f, gate, parts, slopes, packed);
      return;
    }
    gradientSums(plan, dy, x, s, f, out, gate, parts, slopes);
    if (!empty) {
      backward(plan.elements, plan, APPLY, dy, x, dx, dResidual, s, f, gate, 0, slopes, 0);
    }
  }

  /** Launches one of the entries of {@code backward.cu}: struct BackwardArgs. */
  private void backward(
      String entry,
      NormPlan plan,
      int mode,
      Tensor dy,
      Tensor x,
      Tensor dx,
      Tensor dResidual,
      Saved s,
      Activation f,
      long gate,
      long parts,
      long slopes,
      long packed) {
    Kernel k = launches.kernel(entry);
    k.arg(x.address()).arg(dy.address()).arg(address(dx)).arg(address(dResidual)).arg(gate);
    k.arg(s.shift().address());
    parts(k, plan, parts).arg(packed);
    slopes(k, s, slopes);
    k.arg(flag(f == Activation.RELU)).arg((long) code(x.dtype()));
    k.arg((long) mode).arg(flag(mode == APPLY));
    launch(k, plan, mode);
  }

  void gradients(Sums s, Affine gradients, Write w) {
    Tensor any = gradients.gamma() != null ? gradients.gamma() : gradients.beta();
    if (any == null) {
      return;
    }
    Kernel k = launches.kernel("channel_gradients");
    k.arg(s.packed().address()).arg(s.channels());
    k.arg(address(gradients.gamma())).arg(address(gradients.beta()));
    k.arg(flag(w == Write.ADD)).arg(flag(isWide(any.dtype())));
    launchPerThread(k, s.channels());
  }

  void commit(List<Saved> saved, List<Running> running) {
    for (int from = 0; from < saved.size(); from += MOST_COMMITS) {
      int layers = Math.min(MOST_COMMITS, saved.size() - from);
      Kernel k = launches.kernel("commit");
      for (int i = from; i < from + layers; i++) {
        Saved s = saved.get(i);
        Running r = running.get(i);
        k.arg(s.count().address()).arg(s.mean().address()).arg(s.variance().address());
        k.arg(r.mean().address()).arg(r.variance().address()).arg(r.count().address());
        k.arg(r.momentum() == null ? 0 : r.momentum().tensor().address());
        k.arg(s.channels()).arg(flag(r.unbiased()));
      }
      k.launch(layers, NormPlan.THREADS, 0);
    }
  }

  /** Struct Parts. */
  private static Kernel parts(Kernel k, NormPlan plan, long parts) {
    Cut c = plan.cut;
    return k.arg(parts).arg(c.slices).arg(c.values()).arg(plan.outer * plan.inner);
  }

  /** Struct SavedOut. */
  private static void saved(Kernel k, Saved s, Affine a, double eps) {
    if (s == null) {
      for (int i = 0; i < 11; i++) {
        k.arg(0);
      }
      return;
    }
    k.arg(s.count().address()).arg(s.mean().address()).arg(s.variance().address());
    k.arg(s.invstd().address()).arg(s.center().address()).arg(s.scale().address());
    k.arg(s.shift().address()).arg(address(a.gamma())).arg(address(a.beta()));
    k.arg(eps).arg(flag(isWide(s.scale().dtype())));
  }

  /** Struct SlopesOut. */
  private static void slopes(Kernel k, Saved s, long slopes) {
    DType t = s.scale().dtype();
    k.arg(s.count().address()).arg(s.mean().address()).arg(s.invstd().address());
    k.arg(s.center().address()).arg(s.scale().address());
    k.arg(slopes).arg(slopes == 0 ? 0 : slopes + s.channels() * t.bytes()).arg(flag(isWide(t)));
  }

  /** Structs Tickets and Columns, and the launch of an entry that ends with them. */
  private void launch(Kernel k, NormPlan plan, int mode) {
    Cut c = plan.cut;
    if (mode == BOTH) {
      // Enough tasks in a phase for all blocks that are resident.
      long blocks = (long) RESIDENT_BLOCKS * launches.multiprocessors();
      long phase = Math.max(1, Math.min(c.groups(), (blocks + c.slices - 1) / c.slices));
      k.arg(launches.tickets()).arg(c.groups()).arg(phase);
      k.arg(1.0 / (phase * c.slices)).arg(1.0 / c.slices);
      columns(k, c);
      k.launch(Math.min(blocks, 2 * c.tasks()), NormPlan.THREADS, 0);
      return;
    }
    k.arg(0).arg(0).arg(0).arg(0).arg(0);
    if (mode == SUMS || plan.elementsInColumns) {
      columns(k, c);
      k.launch(Math.min(c.tasks(), MOST_BLOCKS), NormPlan.THREADS, 0);
      return;
    }
    k.arg(plan.outer).arg(plan.channels).arg(plan.inner);
    for (int i = 0; i < 10; i++) {
      k.arg(0);
    }
    long elements = plan.outer * plan.channels * plan.inner;
    long blocks = (elements + NormPlan.THREADS - 1) / NormPlan.THREADS;
    long most = (long) FLAT_BLOCKS * launches.multiprocessors();
    k.launch(Math.min(blocks, most), NormPlan.THREADS, 0);
  }

  private static void columns(Kernel k, Cut c) {
    long lanes = NormPlan.THREADS / c.width;
    k.arg(c.outer).arg(c.columns).arg(c.inner).arg(flag(c.fold)).arg((long) c.width);
    k.arg(c.slice).arg(c.slices);
    k.arg(lanes % c.inner).arg(lanes / c.inner * c.columns * c.inner + lanes % c.inner);
    k.arg(1.0 / c.inner).arg(1.0 / c.slices);
    k.arg(1.0 / c.values()).arg(1.0 / c.lastValues());
  }

  private static void launchPerWarp(Kernel k, long channels) {
    launchPerThread(k, WARP * channels);
  }

  /** At least one block: counts are written for no channels too. */
  private static void launchPerThread(Kernel k, long threads) {
    long blocks = (threads + NormPlan.THREADS - 1) / NormPlan.THREADS;
    k.launch(Math.max(1, Math.min(blocks, MOST_BLOCKS)), NormPlan.THREADS, 0);
  }
}
