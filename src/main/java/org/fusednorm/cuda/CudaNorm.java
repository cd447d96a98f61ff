package org.fusednorm.cuda;

import static org.fusednorm.cuda.NormArguments.address;
import static org.fusednorm.cuda.NormArguments.flag;
import static org.fusednorm.cuda.NormArguments.inferred;
import static org.fusednorm.cuda.NormArguments.isWide;
import static org.fusednorm.cuda.NormArguments.parts;
import static org.fusednorm.cuda.NormArguments.saved;
import static org.fusednorm.cuda.NormArguments.slopes;
import static org.fusednorm.cuda.NormLaunches.APPLY;
import static org.fusednorm.cuda.NormLaunches.BOTH;
import static org.fusednorm.cuda.NormLaunches.SUMS;

import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.cuda.NormPlan.Direction;
import org.fusednorm.cuda.NormPlan.Way;

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
          "normalize_columns_f32",
          "normalize_columns_half",
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

  /** The constant kMostCommits of {@code channels.cu}. */
  private static final int MOST_COMMITS = 32;

  private static final int WARP = 32;

  private final Launches launches;
  private final NormPlans plans;
  private final NormLaunches kernels;

  /**
   * @param tuner null to take what the rules say
   */
  CudaNorm(Launches launches, Tuner tuner) {
    this.launches = launches;
    plans = new NormPlans(launches, tuner);
    kernels = new NormLaunches(launches, plans);
  }

  /** A bit for each element, in whole words. */
  long gateBytes(Shape s) {
    return (s.elements() + WARP - 1) / WARP * (WARP / Byte.SIZE);
  }

  private NormPlan plan(Direction d, Tensor x, long addresses, long gate) {
    return plans.plan(d, x.shape(), x.dtype(), addresses, gate != 0);
  }

  void moments(Tensor x, Moments out) {
    NormPlan plan = plan(Direction.FORWARD, x, x.address(), 0);
    long parts = launches.workspace(plan.partBytes());
    forwardSums(plan, x.address(), parts);
    Kernel k = launches.kernel("channel_moments");
    parts(k, plan, parts).arg(plan.channels).arg(out.packed().address());
    saved(k, null, Affine.NONE, 0);
    launchPerWarp(k, plan.channels);
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
    kernels.forward(
        plan.elements, plan, APPLY, x.address(), r, y.address(), gate, 0, s, Affine.NONE, 0, relu);
  }

  private NormPlan forwardPlan(Tensor x, Tensor residual, Tensor y, long gate) {
    long addresses = x.address() | address(residual) | y.address();
    return plan(Direction.FORWARD, x, addresses, gate);
  }

  void forward(Tensor x, Affine a, double eps, Activation f, Tensor residual, Saved out, Tensor y) {
    boolean relu = f == Activation.RELU;
    long gate = relu ? address(out.gate()) : 0;
    NormPlan plan = forwardPlan(x, residual, y, gate);
    long r = address(residual);
    if (!plan.settled) {
      long[] inputs = r == 0 ? new long[] {x.address()} : new long[] {x.address(), r};
      Tuner.Trial trial =
          o -> forward(plan, o[0], r == 0 ? 0 : o[1], o[inputs.length], gate, out, a, eps, relu);
      plans.settle(plan, inputs, 1, trial);
    }
    forward(plan, x.address(), r, y.address(), gate, out, a, eps, relu);
  }

  private void forward(
      NormPlan plan,
      long x,
      long residual,
      long y,
      long gate,
      Saved out,
      Affine a,
      double eps,
      boolean relu) {
    long parts = launches.workspace(plan.partBytes());
    while (plan.way.single() != null && plan.way.single().whole) {
      if (kernels.singleForward(plan, x, residual, y, gate, 0, out, a, eps, relu)) {
        return;
      }
    }
    if (plan.way == Way.TICKETS) {
      kernels.forward(plan.sums, plan, BOTH, x, residual, y, gate, parts, out, a, eps, relu);
      return;
    }
    forwardSums(plan, x, parts);
    Kernel k = launches.kernel("channel_moments");
    parts(k, plan, parts).arg(plan.channels).arg(0);
    saved(k, out, a, eps);
    launchPerWarp(k, plan.channels);
    if (plan.hasElements()) {
      kernels.forward(
          plan.elements, plan, APPLY, x, residual, y, gate, 0, out, Affine.NONE, 0, relu);
    }
  }

  /** Leaves the parts of the plan's way. */
  private void forwardSums(NormPlan plan, long x, long parts) {
    while (plan.way.single() != null) {
      if (kernels.singleForward(plan, x, 0, 0, 0, parts, null, Affine.NONE, 0, false)) {
        return;
      }
    }
    if (plan.hasElements()) {
      kernels.forward(plan.sums, plan, SUMS, x, 0, 0, 0, parts, null, Affine.NONE, 0, false);
    }
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
    boolean relu = f == Activation.RELU;
    kernels.infer(plan, x.address(), address(residual), y.address(), coefficients, bytes, relu);
  }

  void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    long gate = f == Activation.RELU ? address(s.gate()) : 0;
    NormPlan plan = plan(Direction.BACKWARD, x, x.address() | dy.address(), gate);
    long parts = launches.workspace(plan.partBytes());
    gradientSums(plan, dy.address(), x.address(), s, f, out, gate, parts, 0);
  }

  private void gradientSums(
      NormPlan plan,
      long dy,
      long x,
      Saved s,
      Activation f,
      Sums out,
      long gate,
      long parts,
      long slopes) {
    backwardSums(plan, dy, x, s, f, gate, parts);
    Kernel k = launches.kernel("channel_sums");
    parts(k, plan, parts).arg(plan.channels).arg(out.packed().address());
    slopes(k, s, slopes);
    launchPerWarp(k, plan.channels);
  }

  /** Leaves the parts of the plan's way. */
  private void backwardSums(
      NormPlan plan, long dy, long x, Saved s, Activation f, long gate, long parts) {
    while (plan.way.single() != null) {
      if (kernels.singleBackward(plan, dy, x, 0, 0, s, f, gate, parts, 0)) {
        return;
      }
    }
    if (plan.hasElements()) {
      kernels.backward(plan.sums, plan, SUMS, dy, x, 0, 0, s, f, gate, parts, 0, 0);
    }
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
    inputGradient(
        plan, dy.address(), x.address(), dx.address(), address(dResidual), s, f, gate, slopes);
  }

  private void inputGradient(
      NormPlan plan,
      long dy,
      long x,
      long dx,
      long dResidual,
      Saved s,
      Activation f,
      long gate,
      long slopes) {
    kernels.backward(plan.elements, plan, APPLY, dy, x, dx, dResidual, s, f, gate, 0, slopes, 0);
  }

  private NormPlan backwardPlan(Tensor dy, Tensor x, Tensor dx, Tensor dResidual, long gate) {
    long addresses = x.address() | dy.address() | dx.address() | address(dResidual);
    return plan(Direction.BACKWARD, x, addresses, gate);
  }

  private static long slopeBytes(Saved s) {
    return 2 * s.channels() * s.scale().dtype().bytes();
  }

  void backward(Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    long gate = f == Activation.RELU ? address(s.gate()) : 0;
    NormPlan plan = backwardPlan(dy, x, dx, dResidual, gate);
    long r = address(dResidual);
    if (!plan.settled) {
      long[] inputs = {dy.address(), x.address()};
      Tuner.Trial trial = o -> backward(plan, o[0], o[1], o[2], r == 0 ? 0 : o[3], s, f, gate, out);
      plans.settle(plan, inputs, r == 0 ? 1 : 2, trial);
    }
    backward(plan, dy.address(), x.address(), dx.address(), r, s, f, gate, out);
  }

  private void backward(
      NormPlan plan,
      long dy,
      long x,
      long dx,
      long dResidual,
      Saved s,
      Activation f,
      long gate,
      Sums out) {
    long parts = launches.workspace(plan.partBytes() + slopeBytes(s));
    long slopes = parts + plan.partBytes();
    long packed = out.packed().address();
    while (plan.way.single() != null) {
      if (kernels.singleBackward(plan, dy, x, dx, dResidual, s, f, gate, 0, packed)) {
        return;
      }
    }
    if (plan.way == Way.TICKETS) {
      kernels.backward(
          plan.sums, plan, BOTH, dy, x, dx, dResidual, s, f, gate, parts, slopes, packed);
      return;
    }
    gradientSums(plan, dy, x, s, f, out, gate, parts, slopes);
    if (plan.hasElements()) {
      inputGradient(plan, dy, x, dx, dResidual, s, f, gate, slopes);
    }
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

  private static void launchPerWarp(Kernel k, long channels) {
    launchPerThread(k, WARP * channels);
  }

  /** At least one block: counts are written for no channels too. */
  private static void launchPerThread(Kernel k, long threads) {
    k.launch(NormPlan.threadBlocks(threads), NormPlan.THREADS, 0);
  }
}
