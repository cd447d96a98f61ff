package org.fusednorm.reference;

import static org.fusednorm.reference.Values.get;
import static org.fusednorm.reference.Values.put;

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

/**
 * The verbs of {@link org.fusednorm.NormOps}. Data is outer x channels x inner; element (o, c, i)
 * is number (o channels + c) inner + i. An element of an output is written after the same element
 * of every input was read for the last time, so outputs may be inputs.
 */
final class NormLoops {
  private NormLoops() {}

  static void moments(Tensor x, Moments out) {
    long m = x.shape().valuesPerChannel();
    put(out.count(), 0, m);
    for (long c = 0; c < out.channels(); c++) {
      double mean = mean(x, c);
      put(out.mean(), c, mean);
      put(out.m2(), c, squaredDeviations(x, c, mean));
    }
  }

  /** See the package documentation for why in two steps. */
  private static double mean(Tensor x, long c) {
    Shape s = x.shape();
    long m = s.valuesPerChannel();
    if (m == 0) {
      return 0;
    }
    double first = get(x, c * s.inner());
    double estimate = first + deviations(x, c, first) / m;
    return estimate + deviations(x, c, estimate) / m;
  }

  private static double deviations(Tensor x, long c, double from) {
    Shape s = x.shape();
    double sum = 0;
    for (long o = 0; o < s.outer(); o++) {
      long start = (o * s.channels() + c) * s.inner();
      for (long i = start; i < start + s.inner(); i++) {
        sum += get(x, i) - from;
      }
    }
    return sum;
  }

  private static double squaredDeviations(Tensor x, long c, double from) {
    Shape s = x.shape();
    double sum = 0;
    for (long o = 0; o < s.outer(); o++) {
      long start = (o * s.channels() + c) * s.inner();
      for (long i = start; i < start + s.inner(); i++) {
        double d = get(x, i) - from;
        sum += d * d;
      }
    }
    return sum;
  }

  /** Chan, Golub and LeVeque 1979: one part after another into what was merged so far. */
  static void merge(Tensor gathered, int parts, Moments out) {
    long channels = out.channels();
    long size = 1 + 2 * channels;
    double total = 0;
    for (int p = 0; p < parts; p++) {
      total += get(gathered, p * size);
    }
    put(out.count(), 0, total);
    for (long c = 0; c < channels; c++) {
      double count = 0;
      double mean = 0;
      double m2 = 0;
      for (int p = 0; p < parts; p++) {
        double partCount = get(gathered, p * size);
        double partMean = get(gathered, p * size + 1 + c);
        double partM2 = get(gathered, p * size + 1 + channels + c);
        if (partCount == 0) {
          continue;
        }
        if (count == 0) {
          count = partCount;
          mean = partMean;
          m2 = partM2;
          continue;
        }
        double both = count + partCount;
        double delta = partMean - mean;
        mean += delta * (partCount / both);
        m2 += partM2 + delta * delta * (count * (partCount / both));
        count = both;
      }
      put(out.mean(), c, mean);
      put(out.m2(), c, m2);
    }
  }

  static void merge(Tensor gathered, int parts, Sums out) {
    long size = 2 * out.channels();
    for (long i = 0; i < size; i++) {
      double sum = 0;
      for (int p = 0; p < parts; p++) {
        sum += get(gathered, p * size + i);
      }
      put(out.packed(), i, sum);
    }
  }

  static void coefficients(Moments m, Affine a, double eps, Saved out) {
    double count = get(m.count(), 0);
    Values.putLong(out.count(), 0, (long) count);
    for (long c = 0; c < out.channels(); c++) {
      double variance = count == 0 ? 0 : get(m.m2(), c) / count;
      coefficients(get(m.mean(), c), variance, a, eps, out, c);
    }
  }

  static void coefficients(Running r, Affine a, double eps, Saved out) {
    Values.putLong(out.count(), 0, 0);
    for (long c = 0; c < out.channels(); c++) {
      coefficients(get(r.mean(), c), get(r.variance(), c), a, eps, out, c);
    }
  }

  /** Moments and coefficients in one, for a forward. */
  static void statistics(Tensor x, Affine a, double eps, Saved out) {
    long m = x.shape().valuesPerChannel();
    Values.putLong(out.count(), 0, m);
    for (long c = 0; c < out.channels(); c++) {
      double mean = mean(x, c);
      double variance = m == 0 ? 0 : squaredDeviations(x, c, mean) / m;
      coefficients(mean, variance, a, eps, out, c);
    }
  }

  private static void coefficients(
      double mean, double variance, Affine a, double eps, Saved out, long c) {
    double invstd = invstd(variance, eps);
    double scale = gamma(a, c) * invstd;
    double center = rounded(mean, out.center().dtype());
    put(out.mean(), c, mean);
    put(out.variance(), c, variance);
    put(out.invstd(), c, invstd);
    put(out.center(), c, center);
    put(out.scale(), c, scale);
    put(out.shift(), c, beta(a, c) - (mean - center) * scale);
  }

  /** With 0 for a constant channel and eps 0, whose values are all beta then. */
  private static double invstd(double variance, double eps) {
    return variance + eps == 0 ? 0 : 1 / Math.sqrt(variance + eps);
  }

  private static double gamma(Affine a, long c) {
    return a.gamma() == null ? 1 : get(a.gamma(), c);
  }

  private static double beta(Affine a, long c) {
    return a.beta() == null ? 0 : get(a.beta(), c);
  }

  private static double rounded(double v, DType coefficient) {
    return coefficient == DType.F64 ? v : (float) v;
  }

  /** The formula of forward, inference and mask; see {@link Saved}. */
  private static double affine(double x, double center, double scale, double shift) {
    return (x - center) * scale + shift;
  }

  private static double activated(double v, Activation f) {
    return f == Activation.RELU && v <= 0 ? 0 : v;
  }

  static void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    Tensor gate = f == Activation.RELU ? s.gate() : null;
    for (long c = 0; c < s.channels(); c++) {
      double center = get(s.center(), c);
      double scale = get(s.scale(), c);
      double shift = get(s.shift(), c);
      normalize(x, c, center, scale, shift, f, residual, gate, y);
    }
  }

  static void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    DType coefficient = x.dtype().parameter();
    for (long c = 0; c < x.shape().channels(); c++) {
      double mean = get(r.mean(), c);
      double scale = gamma(a, c) * invstd(get(r.variance(), c), eps);
      double center = rounded(mean, coefficient);
      double shift = rounded(beta(a, c) - (mean - center) * scale, coefficient);
      normalize(x, c, center, rounded(scale, coefficient), shift, f, residual, null, y);
    }
  }

  private static void normalize(
      Tensor x,
      long c,
      double center,
      double scale,
      double shift,
      Activation f,
      Tensor residual,
      Tensor gate,
      Tensor y) {
    Shape s = x.shape();
    for (long o = 0; o < s.outer(); o++) {
      long start = (o * s.channels() + c) * s.inner();
      for (long i = start; i < start + s.inner(); i++) {
        double v = affine(get(x, i), center, scale, shift);
        if (residual != null) {
          v += get(residual, i);
        }
        if (gate != null) {
          Values.putFlag(gate, i, !(v <= 0));
        }
        put(y, i, activated(v, f));
      }
    }
  }

  static void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    Shape shape = x.shape();
    for (long c = 0; c < s.channels(); c++) {
      double mean = get(s.mean(), c);
      double invstd = get(s.invstd(), c);
      double sumDy = 0;
      double sumDyXhat = 0;
      for (long o = 0; o < shape.outer(); o++) {
        long start = (o * shape.channels() + c) * shape.inner();
        for (long i = start; i < start + shape.inner(); i++) {
          double g = gated(dy, x, s, f, c, i);
          sumDy += g;
          sumDyXhat += g * ((get(x, i) - mean) * invstd);
        }
      }
      put(out.dy(), c, sumDy);
      put(out.dyXhat(), c, sumDyXhat);
    }
  }

  static void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    Shape shape = x.shape();
    long m = Values.getLong(s.count(), 0);
    for (long c = 0; c < s.channels(); c++) {
      double mean = get(s.mean(), c);
      double invstd = get(s.invstd(), c);
      double scale = get(s.scale(), c);
      double meanDy = m == 0 ? 0 : get(total.dy(), c) / m;
      double meanDyXhat = m == 0 ? 0 : get(total.dyXhat(), c) / m;
      for (long o = 0; o < shape.outer(); o++) {
        long start = (o * shape.channels() + c) * shape.inner();
        for (long i = start; i < start + shape.inner(); i++) {
          double g = gated(dy, x, s, f, c, i);
          double xhat = (get(x, i) - mean) * invstd;
          if (dResidual != null) {
            put(dResidual, i, g);
          }
          put(dx, i, m == 0 ? scale * g : scale * (g - meanDy - xhat * meanDyXhat));
        }
      }
    }
  }

  /** Element {@code i} of dy, of channel {@code c}, where the activation lets it pass, else 0. */
  private static double gated(Tensor dy, Tensor x, Saved s, Activation f, long c, long i) {
    if (f == Activation.NONE) {
      return get(dy, i);
    }
    boolean passes;
    if (s.gate() != null) {
      passes = Values.getFlag(s.gate(), i);
    } else {
      double v = affine(get(x, i), get(s.center(), c), get(s.scale(), c), get(s.shift(), c));
      passes = !(v <= 0);
    }
    return passes ? get(dy, i) : 0;
  }

  static void gradients(Sums s, Affine gradients, Write w) {
    gradient(s.dyXhat(), gradients.gamma(), w);
    gradient(s.dy(), gradients.beta(), w);
  }

  private static void gradient(Tensor sums, Tensor gradient, Write w) {
    if (gradient == null) {
      return;
    }
    for (long c = 0; c < gradient.shape().elements(); c++) {
      put(gradient, c, get(sums, c) + (w == Write.ADD ? get(gradient, c) : 0));
    }
  }

  static void commit(List<Saved> saved, List<Running> running) {
    for (int k = 0; k < saved.size(); k++) {
      Saved s = saved.get(k);
      Running r = running.get(k);
      long m = Values.getLong(s.count(), 0);
      if (m < 2) {
        continue;
      }
      long batches = Values.getLong(r.count(), 0) + 1;
      double weight = r.momentum() == null ? 1.0 / batches : get(r.momentum().tensor(), 0);
      double correction = r.unbiased() ? (double) m / (m - 1) : 1;
      for (long c = 0; c < s.channels(); c++) {
        blend(r.mean(), c, get(s.mean(), c), weight);
        blend(r.variance(), c, get(s.variance(), c) * correction, weight);
      }
      Values.putLong(r.count(), 0, batches);
    }
  }

  private static void blend(Tensor running, long c, double batch, double weight) {
    put(running, c, (1 - weight) * get(running, c) + weight * batch);
  }
}
