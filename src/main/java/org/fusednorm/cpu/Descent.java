package org.fusednorm.cpu;

import java.util.Arrays;
import java.util.List;
import org.fusednorm.DType;
import org.fusednorm.Parameter;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;
import org.fusednorm.host.HostStorage;
import org.fusednorm.host.Isa;

/**
 * Gradient descent of one parameter or of all of a network's in one job, see {@link
 * org.fusednorm.MathOps#sgd}. Every element is computed by itself, so no split changes a bit. One
 * per Java thread, kept with its arrays.
 */
final class Descent extends Job {
  /** What an element takes one thread, about. */
  private static final double NANOS = 0.07;

  /** Parts of every parameter that is not small: enough of them for threads to end together. */
  private static final int PARTS_PER_THREAD = 4;

  /** Elements from which parts start at: those of whole vectors and cache lines. */
  private static final int STEP = 16;

  private final Workers workers;

  /** The instruction set of native functions, or null for plain Java. */
  private final Isa isa;

  private Data[] values = {};
  private Data[] gradients = {};
  private Data[] velocities = {};
  private long[] lengths = {};
  private int count;
  private long total;
  private int parts;
  private double rate;
  private double kept;
  private double decay;

  Descent(Workers workers, Isa isa) {
    this.workers = workers;
    this.isa = isa;
  }

  void run(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    roomFor(1);
    set(0, value, gradient, velocity);
    launch(learningRate, momentum, weightDecay);
  }

  void run(
      List<Parameter> parameters,
      List<Tensor> velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    roomFor(parameters.size());
    for (int i = 0; i < count; i++) {
      Parameter p = parameters.get(i);
      set(i, p.value(), p.gradient(), velocity == null ? null : velocity.get(i));
    }
    launch(learningRate, momentum, weightDecay);
  }

  private void roomFor(int wanted) {
    count = wanted;
    total = 0;
    if (values.length < count) {
      values = grown(values);
      gradients = grown(gradients);
      velocities = grown(velocities);
      lengths = new long[count];
    }
  }

  private Data[] grown(Data[] old) {
    Data[] all = Arrays.copyOf(old, count);
    for (int i = old.length; i < count; i++) {
      all[i] = new Data();
    }
    return all;
  }

  private void set(int i, Tensor value, Tensor gradient, Tensor velocity) {
    values[i].set(value);
    gradients[i].set(gradient);
    velocities[i].set(velocity);
    lengths[i] = value.shape().elements();
    total += lengths[i];
  }

  private void launch(Scalar learningRate, Scalar momentum, Scalar weightDecay) {
    rate = read(learningRate);
    kept = momentum == null ? 0 : read(momentum);
    decay = weightDecay == null ? 0 : read(weightDecay);
    long most = (long) PARTS_PER_THREAD * workers.threads();
    parts = (int) Math.min(most, Layout.ceil(total, MathCall.ITEM));
    workers.run(this, parts, (long) (total * NANOS));
  }

  private static double read(Scalar s) {
    Tensor t = s.tensor();
    return ((HostStorage) t.storage()).getDouble(t.byteOffset());
  }

  /**
   * A part of every large parameter, as threads have written their gradients, and some small ones.
   */
  @Override
  void run(int part, Scratch s) {
    for (int i = 0; i < count; i++) {
      if (lengths[i] > MathCall.ITEM) {
        descend(i, bound(lengths[i], part), bound(lengths[i], part + 1), s);
      } else if (i % parts == part) {
        descend(i, 0, lengths[i], s);
      }
    }
  }

  private long bound(long length, int part) {
    return part == parts ? length : length / STEP * part / parts * STEP;
  }

  private void descend(int i, long from, long to, Scratch s) {
    Data value = values[i];
    Data gradient = gradients[i];
    Data velocity = velocities[i];
    if (isa != null && value.type == DType.F32) {
      Simd.sgd(
          isa.ordinal(),
          value.address(0),
          gradient.address(0),
          velocity.address(0),
          (float) rate,
          (float) kept,
          (float) decay,
          from,
          to);
      return;
    }
    for (long e = from; e < to; e += Scratch.CHUNK) {
      int n = (int) Math.min(Scratch.CHUNK, to - e);
      if (value.type == DType.F64) {
        doubles(value, gradient, velocity, e, n, s);
      } else {
        floats(value, gradient, velocity, e, n, s);
      }
    }
  }

  private void floats(Data value, Data gradient, Data velocity, long e, int n, Scratch s) {
    gradient.get(e, s.x, 0, n, null);
    value.get(e, s.dy, 0, n, null);
    if (velocity.isPresent()) {
      velocity.get(e, s.other, 0, n, null);
      Lanes.velocity(s.x, s.dy, s.other, (float) kept, (float) decay, n);
      velocity.put(e, s.x, n, null);
      Lanes.descend(s.x, s.dy, (float) rate, 0, n);
    } else {
      Lanes.descend(s.x, s.dy, (float) rate, (float) decay, n);
    }
    value.put(e, s.x, n, null);
  }

  private void doubles(Data value, Data gradient, Data velocity, long e, int n, Scratch s) {
    double[] v = s.xd;
    double[] w = s.dyd;
    gradient.get(e, v, 0, n);
    value.get(e, w, 0, n);
    for (int i = 0; i < n; i++) {
      v[i] += decay * w[i];
    }
    if (velocity.isPresent()) {
      velocity.get(e, s.otherd, 0, n);
      for (int i = 0; i < n; i++) {
        v[i] += kept * s.otherd[i];
      }
      velocity.put(e, v, n);
    }
    for (int i = 0; i < n; i++) {
      v[i] = w[i] - rate * v[i];
    }
    value.put(e, v, n);
  }
}
