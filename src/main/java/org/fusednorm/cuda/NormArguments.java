package org.fusednorm.cuda;

import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Saved;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.NormPlan.Cut;

/** The structs of {@code cuda/*.cuh} that kernels of normalization share, field by field. */
final class NormArguments {
  private NormArguments() {}

  /** Null is absent. */
  static long address(Tensor t) {
    return t == null ? 0 : t.address();
  }

  static boolean isWide(DType t) {
    return t.parameter() == DType.F64;
  }

  static long flag(boolean b) {
    return b ? 1 : 0;
  }

  /** The enum Type of {@code norm.cuh}. */
  static long code(DType t) {
    return switch (t) {
      case F32, F64 -> 0;
      case F16 -> 1;
      case BF16 -> 2;
      default -> throw new IllegalArgumentException("no normalization of " + t);
    };
  }

  /** Struct Parts. */
  static Kernel parts(Kernel k, NormPlan plan, long parts) {
    if (plan.way.single() != null) {
      return k.arg(parts).arg(1).arg(plan.values()).arg(plan.values());
    }
    Cut c = plan.cut;
    return k.arg(parts).arg(c.slices).arg(c.values()).arg(plan.values());
  }

  /** Struct SavedOut. */
  static void saved(Kernel k, Saved s, Affine a, double eps) {
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
  static void slopes(Kernel k, Saved s, long slopes) {
    DType t = s.scale().dtype();
    k.arg(s.count().address()).arg(s.mean().address()).arg(s.invstd().address());
    k.arg(s.center().address()).arg(s.scale().address());
    k.arg(slopes).arg(slopes == 0 ? 0 : slopes + s.channels() * t.bytes()).arg(flag(isWide(t)));
  }

  /** Struct SavedOut with coefficients alone. */
  static void inferred(Kernel k, long coefficients, long bytes, Affine a, double eps, DType t) {
    k.arg(0).arg(0).arg(0).arg(0);
    k.arg(coefficients).arg(coefficients + bytes).arg(coefficients + 2 * bytes);
    k.arg(address(a.gamma())).arg(address(a.beta())).arg(eps).arg(flag(isWide(t)));
  }

  /** Struct Columns. */
  static void columns(Kernel k, Cut c) {
    long lanes = NormPlan.THREADS / c.width;
    k.arg(c.outer).arg(c.columns).arg(c.inner).arg(flag(c.fold)).arg((long) c.width);
    k.arg(c.slice).arg(c.slices);
    k.arg(lanes % c.inner).arg(lanes / c.inner * c.columns * c.inner + lanes % c.inner);
    k.arg(1.0 / c.inner).arg(1.0 / c.slices);
    k.arg(1.0 / c.values()).arg(1.0 / c.lastValues());
  }
}
