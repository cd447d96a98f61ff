package org.fusednorm.cpu;

import java.util.List;
import org.fusednorm.Affine;
import org.fusednorm.Moments;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;

/** Verbs on per-channel numbers alone. */
final class Statistics {
  private Statistics() {}

  private static HostStorage host(Tensor t) {
    return (HostStorage) t.storage();
  }

  private static double get(Tensor t, long i) {
    return host(t).getDouble(t.byteOffset() + 8 * i);
  }

  private static void put(Tensor t, long i, double v) {
    host(t).putDouble(t.byteOffset() + 8 * i, v);
  }

  /** Chan's formula, part after part. */
  static void merge(Tensor gathered, int parts, Moments out) {
    Tensor to = out.packed();
    long channels = out.channels();
    long size = 1 + 2 * channels;
    for (long i = 0; i < size; i++) {
      put(to, i, get(gathered, i));
    }
    for (int p = 1; p < parts; p++) {
      double before = get(to, 0);
      double n = get(gathered, p * size);
      if (n == 0) {
        continue;
      }
      double w = n / (before + n);
      for (long c = 1; c <= channels; c++) {
        double mean = get(to, c);
        double d = get(gathered, p * size + c) - mean;
        double m2 = get(gathered, p * size + channels + c);
        put(to, c, mean + d * w);
        put(to, channels + c, get(to, channels + c) + m2 + d * d * w * before);
      }
      put(to, 0, before + n);
    }
  }

  static void merge(Tensor gathered, int parts, Sums out) {
    Tensor to = out.packed();
    long size = 2 * out.channels();
    for (long i = 0; i < size; i++) {
      double sum = 0;
      for (int p = 0; p < parts; p++) {
        sum += get(gathered, p * size + i);
      }
      put(to, i, sum);
    }
  }

  static void gradients(Sums sums, Affine gradients, Write w, Scratch s) {
    write(sums.dyXhat(), gradients.gamma(), w, s);
    write(sums.dy(), gradients.beta(), w, s);
  }

  private static void write(Tensor sum, Tensor gradient, Write w, Scratch s) {
    if (gradient == null) {
      return;
    }
    HostStorage h = host(gradient);
    boolean add = w == Write.ADD;
    int width = gradient.dtype().bytes();
    for (long c = 0, channels = sum.shape().elements(); c < channels; c += Scratch.CHUNK) {
      int n = (int) Math.min(Scratch.CHUNK, channels - c);
      long at = gradient.byteOffset() + c * width;
      host(sum).get(sum.byteOffset() + 8 * c, s.xd, 0, n);
      if (width == 4) {
        if (add) {
          h.get(at, s.x, 0, n);
        }
        for (int i = 0; i < n; i++) {
          s.x[i] = (float) (s.xd[i] + (add ? s.x[i] : 0));
        }
        h.put(at, s.x, 0, n);
      } else {
        if (add) {
          h.get(at, s.otherd, 0, n);
        }
        for (int i = 0; i < n; i++) {
          s.xd[i] += add ? s.otherd[i] : 0;
        }
        h.put(at, s.xd, 0, n);
      }
    }
  }

  static void commit(List<Saved> saved, List<Running> running, Scratch s) {
    for (int i = 0; i < saved.size(); i++) {
      commit(saved.get(i), running.get(i), s);
    }
  }

  private static void commit(Saved saved, Running r, Scratch s) {
    long n = host(saved.count()).getLong(saved.count().byteOffset());
    if (n < 2) {
      return;
    }
    long batches = host(r.count()).getLong(r.count().byteOffset()) + 1;
    double weight = r.momentum() == null ? 1.0 / batches : get(r.momentum().tensor(), 0);
    double unbiased = r.unbiased() ? (double) n / (n - 1) : 1;
    long channels = saved.channels();
    average(saved.mean(), 1, r.mean(), weight, channels, s);
    average(saved.variance(), unbiased, r.variance(), weight, channels, s);
    host(r.count()).putLong(r.count().byteOffset(), batches);
  }

  private static void average(
      Tensor value, double factor, Tensor average, double weight, long channels, Scratch s) {
    for (long c = 0; c < channels; c += Scratch.CHUNK) {
      int n = (int) Math.min(Scratch.CHUNK, channels - c);
      host(value).get(value.byteOffset() + 8 * c, s.xd, 0, n);
      host(average).get(average.byteOffset() + 8 * c, s.otherd, 0, n);
      for (int i = 0; i < n; i++) {
        s.otherd[i] = (1 - weight) * s.otherd[i] + weight * (s.xd[i] * factor);
      }
      host(average).put(average.byteOffset() + 8 * c, s.otherd, 0, n);
    }
  }
}
