package org.fusednorm.cuda;

import static org.fusednorm.cuda.NormArguments.code;
import static org.fusednorm.cuda.NormArguments.columns;
import static org.fusednorm.cuda.NormArguments.flag;
import static org.fusednorm.cuda.NormArguments.inferred;
import static org.fusednorm.cuda.NormArguments.parts;
import static org.fusednorm.cuda.NormArguments.saved;
import static org.fusednorm.cuda.NormArguments.slopes;

import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Saved;
import org.fusednorm.cuda.NormPlan.Cut;

/**
 * The launches of normalization that move data, for {@link CudaNorm}: arguments in the order of
 * their struct in {@code cuda/*.cu}, grid and block. Addresses of what is not there are 0.
 */
final class NormLaunches {
  /** The enum Mode of {@code tickets.cuh}. */
  static final int SUMS = 0;

  static final int APPLY = 1;
  static final int BOTH = 2;

  private final Launches launches;
  private final NormPlans plans;

  NormLaunches(Launches launches, NormPlans plans) {
    this.launches = launches;
    this.plans = plans;
  }

  /**
   * The plan's way of a single pass, structs *ForwardArgs of {@code single_pass_*.cu}: everything,
   * or with parts these alone.
   *
   * @return false if the GPU refuses; the plan has another way then
   */
  boolean singleForward(
      NormPlan plan,
      long x,
      long residual,
      long y,
      long gate,
      long parts,
      Saved s,
      Affine a,
      double eps,
      boolean relu) {
    Kernel k = launches.kernel(plan.way.single().entry);
    k.arg(x).arg(residual).arg(y).arg(gate).arg(parts);
    saved(k, s, a, eps);
    return single(k.arg(flag(relu)), plan);
  }

  /** Launches one of the entries of {@code forward.cu}: struct ForwardArgs. */
  void forward(
      String entry,
      NormPlan plan,
      int mode,
      long x,
      long residual,
      long y,
      long gate,
      long parts,
      Saved s,
      Affine a,
      double eps,
      boolean relu) {
    Kernel k = launches.kernel(entry);
    k.arg(x).arg(residual).arg(y).arg(gate);
    parts(k, plan, parts);
    saved(k, s, a, eps);
    k.arg(flag(relu)).arg(code(plan.type)).arg((long) mode).arg(flag(mode == APPLY));
    launch(k, plan, mode);
  }

  /**
   * The same with coefficients alone: centers, scales and shifts, each of so many bytes.
   *
   * @param coefficients address of the first
   */
  void infer(
      NormPlan plan, long x, long residual, long y, long coefficients, long bytes, boolean relu) {
    Kernel k = launches.kernel(plan.elements);
    k.arg(x).arg(residual).arg(y).arg(0);
    parts(k, plan, 0);
    inferred(k, coefficients, bytes, Affine.NONE, 0, plan.type);
    k.arg(flag(relu)).arg(code(plan.type)).arg((long) APPLY).arg(0);
    launch(k, plan, APPLY);
  }

  /** Structs *BackwardArgs of {@code single_pass_*.cu}, as {@link #singleForward}. */
  boolean singleBackward(
      NormPlan plan,
      long dy,
      long x,
      long dx,
      long dResidual,
      Saved s,
      Activation f,
      long gate,
      long parts,
      long packed) {
    Kernel k = launches.kernel(plan.way.single().entry);
    k.arg(x).arg(dy).arg(dx).arg(dResidual).arg(gate).arg(s.shift().address());
    k.arg(parts).arg(packed);
    slopes(k, s, 0);
    return single(k.arg(flag(f == Activation.RELU)), plan);
  }

  /** Launches one of the entries of {@code backward.cu}: struct BackwardArgs. */
  void backward(
      String entry,
      NormPlan plan,
      int mode,
      long dy,
      long x,
      long dx,
      long dResidual,
      Saved s,
      Activation f,
      long gate,
      long parts,
      long slopes,
      long packed) {
    Kernel k = launches.kernel(entry);
    k.arg(x).arg(dy).arg(dx).arg(dResidual).arg(gate).arg(s.shift().address());
    parts(k, plan, parts).arg(packed);
    slopes(k, s, slopes);
    k.arg(flag(f == Activation.RELU)).arg(code(plan.type));
    k.arg((long) mode).arg(flag(mode == APPLY));
    launch(k, plan, mode);
  }

  private boolean single(Kernel k, NormPlan plan) {
    SinglePass single = plan.way.single();
    single.write(k, plan.values());
    long blocks = single.blocks(launches.multiprocessors());
    boolean done = k.launchCluster(blocks, single.kind, single.sharedBytes());
    if (!done) {
      plans.refused(plan);
    }
    return done;
  }

  /** Structs Tickets and Columns, and the launch of an entry that ends with them. */
  private void launch(Kernel k, NormPlan plan, int mode) {
    Cut c = plan.cut;
    if (mode == BOTH) {
      long phase = plan.phase(launches.multiprocessors());
      k.arg(launches.tickets()).arg(c.groups()).arg(phase);
      k.arg(1.0 / (phase * c.slices)).arg(1.0 / c.slices);
      columns(k, c);
      k.launch(plan.ticketBlocks(launches.multiprocessors()), NormPlan.THREADS, 0);
      return;
    }
    k.arg(0).arg(0).arg(0).arg(0).arg(0);
    if (mode == SUMS || plan.elementsInColumns) {
      columns(k, c);
      k.launch(plan.sumBlocks(), NormPlan.THREADS, 0);
      return;
    }
    k.arg(plan.outer).arg(plan.channels).arg(plan.inner);
    for (int i = 0; i < 10; i++) {
      k.arg(0);
    }
    k.launch(plan.elementBlocks(launches.multiprocessors()), NormPlan.THREADS, 0);
  }
}
