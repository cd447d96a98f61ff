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

  static void gradients(Sums s, Affine gradients, Write w) {
    write(s.dyXhat(), gradients.gamma(), w);
    write(s.dy(), gradients.beta(), w);
  }

  private static void write(Tensor sum, Tensor gradient, Write w) {
    if (gradient == null) {
      return;
    }
    HostStorage h = host(gradient);
    boolean add = w == Write.ADD;
    for (long c = 0, n = sum.shape().elements(); c < n; c++) {
      long at = gradient.byteOffset() + c * gradient.dtype().bytes();
      if (gradient.dtype().bytes() == 4) {
        h.putFloat(at, (float) (get(sum, c) + (add ? h.getFloat(at) : 0)));
      } else {
        h.putDouble(at, get(sum, c) + (add ? h.getDouble(at) : 0));
      }
    }
  }

  static void commit(List<Saved> saved, List<Running> running) {
    for (int i = 0; i < saved.size(); i++) {
      commit(saved.get(i), running.get(i));
    }
  }

  private static void commit(Saved s, Running r) {
    long n = host(s.count()).getLong(s.count().byteOffset());
    if (n < 2) {
      return;
    }
    long batches = host(r.count()).getLong(r.count().byteOffset()) + 1;
    double weight = r.momentum() == null ? 1.0 / batches : get(r.momentum().tensor(), 0);
    double unbiased = r.unbiased() ? (double) n / (n - 1) : 1;
    for (long c = 0, channels = s.channels(); c < channels; c++) {
      double mean = get(s.mean(), c);
      double variance = get(s.variance(), c) * unbiased;
      put(r.mean(), c, (1 - weight) * get(r.mean(), c) + weight * mean);
      put(r.variance(), c, (1 - weight) * get(r.variance(), c) + weight * variance);
    }
    host(r.count()).putLong(r.count().byteOffset(), batches);
  }
}
