package org.fusednorm.cpu;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.host.Settings;

/**
 * Entries of the native kernels. They check nothing: addresses, sizes and ranges are right, the
 * instruction set is one that the machine has, and a call is laid out as {@link NativeNorm} does.
 */
final class Simd {
  private static final String CAP = "fusednorm.isa";

  private Simd() {}

  /**
   * The instruction set to use: the best that the machine has and property fusednorm.isa allows, or
   * null where there is no native library.
   *
   * @throws IllegalArgumentException where the property names no instruction set
   */
  static Isa chosen() {
    String given = Settings.get(CAP);
    Isa cap = given == null ? Isa.AVX512 : parse(given);
    if (!NativeLibrary.isAvailable()) {
      return null;
    }
    Isa best = NativeLibrary.isa();
    return best.compareTo(cap) <= 0 ? best : cap;
  }

  private static Isa parse(String given) {
    for (Isa isa : Isa.values()) {
      if (name(isa).equals(given)) {
        return isa;
      }
    }
    throw new IllegalArgumentException(
        "-D"
            + CAP
            + "="
            + given
            + " is none of "
            + Arrays.stream(Isa.values()).map(Simd::name).collect(Collectors.joining(", ")));
  }

  private static String name(Isa isa) {
    return isa.name().toLowerCase(Locale.ROOT);
  }

  static native void moments(
      int isa,
      long call,
      long outerFrom,
      long outerTo,
      int channelFrom,
      int channelTo,
      long innerFrom,
      long innerTo,
      long slot);

  static native void normalize(
      int isa,
      long call,
      long outerFrom,
      long outerTo,
      int channelFrom,
      int channelTo,
      long innerFrom,
      long innerTo,
      long slot);

  static native void gradientSums(
      int isa,
      long call,
      long outerFrom,
      long outerTo,
      int channelFrom,
      int channelTo,
      long innerFrom,
      long innerTo,
      long slot);

  static native void inputGradient(
      int isa,
      long call,
      long outerFrom,
      long outerTo,
      int channelFrom,
      int channelTo,
      long innerFrom,
      long innerTo,
      long slot);

  /** For two ranges of channels, over all planes. */
  static native void normalizeAndMoments(
      int isa,
      long call,
      long outer,
      long inner,
      int doneFrom,
      int doneTo,
      int nextFrom,
      int nextTo);

  /** Whether a channel is wide. */
  static native boolean finishMoments(int isa, long call, int channelFrom, int channelTo);

  static native boolean loadCoefficients(int isa, long call);

  static native boolean constantCoefficients(int isa, long call);

  static native void finishSums(int isa, long call, int channelFrom, int channelTo);

  /** y = f(x) over n floats, f by its ordinal. */
  static native void activate(int isa, int f, long x, long y, long n);

  /** dx = dy f'(.) over n floats, from y = f(.). */
  static native void activationGradient(int isa, int f, long y, long dy, long dx, long n);

  /**
   * out[i, :] = scale table[rows[i], :], a table of bytes and {@code count} I64 rows, for from <= i
   * < to.
   */
  static native void gatherBytes(
      int isa,
      long table,
      long rows,
      long out,
      long count,
      long columns,
      double scale,
      long from,
      long to);

  /**
   * The sum of the losses of rows from..to-1 of all rows of floats; d is 0 where no gradient is
   * wanted. At most 1024 columns.
   */
  static native double softmax(
      int isa,
      long logits,
      long labels,
      boolean shortLabels,
      long d,
      long rows,
      long columns,
      long from,
      long to);

  /** Gradient descent of the floats from..to-1; velocity is 0 where there is none. */
  static native void sgd(
      int isa,
      long value,
      long gradient,
      long velocity,
      float rate,
      float kept,
      float decay,
      long from,
      long to);
}
