package org.fusednorm.cpu;

import java.util.Arrays;
import org.fusednorm.DType;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;

/** Copies per-channel tensors, F32 or F64, from and to double arrays. */
final class Params {
  private Params() {}

  /** Reads {@code n} values, or fills with {@code absent} where there is no tensor. */
  static void read(Tensor t, double absent, double[] to, int n, Scratch s) {
    read(t, absent, to, 0, n, s);
  }

  /** Reads the values of indices {@code from..end}. */
  static void read(Tensor t, double absent, double[] to, int from, int end, Scratch s) {
    if (t == null) {
      Arrays.fill(to, from, end, absent);
      return;
    }
    HostStorage h = (HostStorage) t.storage();
    if (t.dtype() == DType.F64) {
      h.get(t.byteOffset() + 8L * from, to, from, end - from);
      return;
    }
    float[] f = s.other;
    for (int i = from; i < end; i += f.length) {
      int m = Math.min(f.length, end - i);
      h.get(t.byteOffset() + 4L * i, f, 0, m);
      for (int j = 0; j < m; j++) {
        to[i + j] = f[j];
      }
    }
  }

  /** Rounds {@code n} values into a tensor, or adds them before rounding. */
  static void write(Tensor t, double[] v, int n, Write w, Scratch s) {
    HostStorage h = (HostStorage) t.storage();
    long at = t.byteOffset();
    if (t.dtype() == DType.F64) {
      if (w == Write.ADD) {
        for (int i = 0; i < n; i++) {
          h.putDouble(at + 8L * i, h.getDouble(at + 8L * i) + v[i]);
        }
      } else {
        h.put(at, v, 0, n);
      }
      return;
    }
    float[] f = s.other;
    for (int i = 0; i < n; i += f.length) {
      int m = Math.min(f.length, n - i);
      if (w == Write.ADD) {
        h.get(at + 4L * i, f, 0, m);
        for (int j = 0; j < m; j++) {
          f[j] = (float) (f[j] + v[i + j]);
        }
      } else {
        for (int j = 0; j < m; j++) {
          f[j] = (float) v[i + j];
        }
      }
      h.put(at + 4L * i, f, 0, m);
    }
  }
}
