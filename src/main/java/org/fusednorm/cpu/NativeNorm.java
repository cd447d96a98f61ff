package org.fusednorm.cpu;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.LongBuffer;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Tensor;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;

/**
 * The native kernels for F32, F16 and BF16. Keeps what they read besides the data, and where they
 * put their sums, in memory of its own, so that a call passes addresses and a range only.
 */
final class NativeNorm implements NormKernels {
  /** What kernels may read past the last coefficient. */
  private static final int PAD = 16;

  private static final int ALIGNMENT = 64;

  /** From here on reading that overlaps with writing outweighs a second group in the caches. */
  private static final long OVERLAPPED_PLANE = 2048;

  /** What kernels have lanes for, as kMostLanes in kernels.h. */
  private static final int MOST_LANES = 2048;

  private final int isa;
  private final Stores stores;

  /** The call as native code reads it: the fields of struct Call, in its order. */
  private final long[] fields = new long[36];

  private final LongBuffer call;
  private final long callAddress;

  // The coefficients c, a, b, p, q of all channels one after another, and two parts per stripe.
  private FloatBuffer coefficients;
  private DoubleBuffer parts;
  private long coefficientsAddress;
  private long partsAddress;
  private int perCoefficient;
  private int perPart;

  /** Whether results of this call go past the caches. */
  private boolean streams;

  /** Values per channel of each stripe. */
  private DoubleBuffer counts = DoubleBuffer.allocate(0);

  private long countsAddress;

  NativeNorm(Isa isa, Stores stores) {
    this.isa = isa.ordinal();
    this.stores = stores;
    ByteBuffer memory = direct(8 * fields.length);
    callAddress = NativeLibrary.address(memory);
    call = memory.asLongBuffer();
  }

  private static ByteBuffer direct(int bytes) {
    // An aligned slice loses up to 63 bytes at either end.
    return ByteBuffer.allocateDirect(bytes + 2 * ALIGNMENT)
        .alignedSlice(ALIGNMENT)
        .slice(0, bytes)
        .order(ByteOrder.nativeOrder());
  }

  private void room(Layout l) {
    int slots = l.stripes * l.channels;
    if (counts.capacity() < l.stripes) {
      ByteBuffer b = direct(8 * l.stripes);
      counts = b.asDoubleBuffer();
      countsAddress = NativeLibrary.address(b);
    }
    for (int i = 0; i < l.stripes; i++) {
      counts.put(i, l.stripeCount(i));
    }
    if (perCoefficient < l.channels + PAD) {
      perCoefficient = l.channels + PAD;
      ByteBuffer b = direct(5 * 4 * perCoefficient);
      coefficients = b.asFloatBuffer();
      coefficientsAddress = NativeLibrary.address(b);
    }
    if (perPart < slots) {
      perPart = slots;
      ByteBuffer b = direct(2 * 8 * perPart);
      parts = b.asDoubleBuffer();
      partsAddress = NativeLibrary.address(b);
    }
  }

  @Override
  public int columns() {
    return MOST_LANES;
  }

  @Override
  public boolean begin(NormCall n) {
    Layout l = n.layout();
    room(l);
    int i = 0;
    fields[i++] = n.x.address(0);
    fields[i++] = n.residual.address(0);
    fields[i++] = n.y.address(0);
    fields[i++] = n.dy.address(0);
    fields[i++] = n.dx.address(0);
    fields[i++] = n.dResidual.address(0);
    fields[i++] = n.gate == null ? 0 : n.gate.address() + n.gateAt;
    fields[i++] = l.channels;
    fields[i++] = l.inner;
    fields[i++] = l.rowsPerTile;
    fields[i++] = l.gateStride();
    fields[i++] = n.x.type == DType.F32 ? 0 : n.x.type == DType.BF16 ? 1 : 2;
    fields[i++] = n.relu ? 1 : 0;
    fields[i++] = n.per.constants ? 1 : 0;
    streams = stores.arePast(n.tensors() * l.elements * n.x.width, n.isKept);
    fields[i++] = streams ? 1 : 0;
    for (int k = 0; k < 5; k++) {
      fields[i++] = coefficientsAddress + 4L * k * perCoefficient;
    }
    fields[i++] = partsAddress;
    fields[i++] = partsAddress + 8L * perPart;
    fields[i++] = l.stripes;
    fields[i++] = countsAddress;
    fields[i++] = Double.doubleToRawLongBits(n.per.count);
    fields[i++] = Double.doubleToRawLongBits(n.eps);
    fields[i++] = address(n.affine.gamma());
    fields[i++] = address(n.affine.beta());
    Saved s = n.saved;
    Running r = n.running;
    fields[i++] = s != null ? address(s.mean()) : r != null ? address(r.mean()) : 0;
    fields[i++] = s != null ? address(s.variance()) : r != null ? address(r.variance()) : 0;
    fields[i++] = s != null ? address(s.invstd()) : 0;
    fields[i++] = s != null ? address(s.center()) : 0;
    fields[i++] = s != null ? address(s.scale()) : 0;
    fields[i++] = s != null ? address(s.shift()) : 0;
    fields[i++] = n.sums != null ? address(n.sums.dy()) : 0;
    fields[i] = n.sums != null ? address(n.sums.dyXhat()) : 0;
    call.put(0, fields);
    return true;
  }

  private static long address(Tensor t) {
    return t == null ? 0 : t.storage().address() + t.byteOffset();
  }

  @Override
  public boolean load(NormCall n) {
    return !Simd.loadCoefficients(isa, callAddress);
  }

  @Override
  public boolean loadRunning(NormCall n) {
    return !Simd.constantCoefficients(isa, callAddress);
  }

  @Override
  public boolean finishMoments(NormCall n, int from, int to) {
    return !Simd.finishMoments(isa, callAddress, from, to);
  }

  @Override
  public void finishSums(NormCall n, int from, int to) {
    Simd.finishSums(isa, callAddress, from, to);
  }

  @Override
  public void coefficients(NormCall n, int from, int to, Scratch s) {
    put(0, n.per.center, from, to, s.other);
    put(1, n.per.scale, from, to, s.other);
    put(2, n.per.shift, from, to, s.other);
  }

  @Override
  public void slopes(NormCall n, int from, int to, Scratch s) {
    put(3, n.per.slope, from, to, s.other);
    put(4, n.per.offset, from, to, s.other);
  }

  private void put(int k, double[] v, int from, int to, float[] f) {
    for (int i = from; i < to; i += f.length) {
      int m = Math.min(f.length, to - i);
      for (int j = 0; j < m; j++) {
        f[j] = (float) v[i + j];
      }
      coefficients.put(k * perCoefficient + i, f, 0, m);
    }
  }

  private static long slot(NormCall n, Range r) {
    return (long) r.stripe * n.layout().channels;
  }

  @Override
  public void take(NormCall n, int stripe, int from, int to) {
    int slot = stripe * n.layout().channels + from;
    parts.get(slot, n.per.part, slot, to - from);
    parts.get(perPart + slot, n.per.part2, slot, to - from);
  }

  @Override
  public void moments(NormCall n, Range r, Scratch s) {
    Simd.moments(
        isa,
        callAddress,
        r.outerFrom,
        r.outerTo,
        r.channelFrom,
        r.channelTo,
        r.innerFrom,
        r.innerTo,
        slot(n, r));
  }

  @Override
  public void normalize(NormCall n, Range r, Scratch s) {
    Simd.normalize(
        isa,
        callAddress,
        r.outerFrom,
        r.outerTo,
        r.channelFrom,
        r.channelTo,
        r.innerFrom,
        r.innerTo,
        0);
  }

  @Override
  public boolean overlaps(NormCall n) {
    Layout l = n.layout();
    return l.inner >= OVERLAPPED_PLANE || (streams && l.isSmallPlanes());
  }

  @Override
  public void normalizeAndMoments(NormCall n, Range done, Range next) {
    Layout l = n.layout();
    Simd.normalizeAndMoments(
        isa,
        callAddress,
        l.outer,
        l.inner,
        done.channelFrom,
        done.channelTo,
        next.channelFrom,
        next.channelTo);
  }

  @Override
  public void gradientSums(NormCall n, Range r, Scratch s) {
    Simd.gradientSums(
        isa,
        callAddress,
        r.outerFrom,
        r.outerTo,
        r.channelFrom,
        r.channelTo,
        r.innerFrom,
        r.innerTo,
        slot(n, r));
  }

  @Override
  public void inputGradient(NormCall n, Range r, Scratch s) {
    Simd.inputGradient(
        isa,
        callAddress,
        r.outerFrom,
        r.outerTo,
        r.channelFrom,
        r.channelTo,
        r.innerFrom,
        r.innerTo,
        0);
  }
}
