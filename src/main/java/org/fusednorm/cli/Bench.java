package org.fusednorm.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.DoubleConsumer;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.NormOps;
import org.fusednorm.Recording;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;

/**
 * Times the operations of one shape beside a copy of the same data. All take turns in rounds, and
 * each is compared with the copy of its own round, so that a machine that slows down slows both.
 *
 * <p>On a GPU the calls go through several sets of operands in turn, more than its cache holds, as
 * in a network, where a layer finds its input in memory; and all sets are one recording, so that
 * what is timed is the device and not the calls. The CPU calls one by one with the same operands,
 * whose smallest shapes then stay in its cache, as they do in a network.
 */
final class Bench implements AutoCloseable {
  private static final double EPS = 1e-5;

  /** Shorter calls are repeated until a measurement lasts this long, in seconds. */
  private static final double SHORTEST = 2e-3;

  /** Part of the time that goes to warming up, for the compiler of the JVM. */
  private static final double WARM_UP = 0.3;

  private static final int FEWEST_ROUNDS = 3;

  /** Four times the largest cache of a GPU yet, 128 MB. */
  private static final long GPU_ROTATION = 512L << 20;

  private static final int MOST_SETS = 48;

  private final Backend backend;
  private final Scope memory;
  private final List<Work> works = new ArrayList<>();
  private final List<Operands> sets = new ArrayList<>();

  /**
   * One operation.
   *
   * @param name what is done
   * @param bytes the least that it must read and write
   * @param calls how many operands it goes through
   * @param run does it once with each of them
   * @param recording what {@code run} replays, or null
   */
  private record Work(String name, long bytes, int calls, Runnable run, Recording recording) {}

  /** What one call reads and writes. */
  private record Operands(Tensor x, Tensor residual, Tensor dy, Tensor y) {}

  /**
   * What was measured.
   *
   * @param operation what was done
   * @param bytes the least that it must read and write
   * @param rounds number of measurements
   * @param seconds their median
   * @param gigabytesPerSecond 10^9 of those bytes per second, at the median time
   * @param ofCopy bytes per second beside those of the copy in the same round, the median
   */
  record Timing(
      String operation,
      long bytes,
      int rounds,
      double seconds,
      double gigabytesPerSecond,
      double ofCopy) {}

  /** How many bytes a call's operands must be moved on by before the same ones come again. */
  static long rotation(Device device) {
    return device.backend().equals("cuda") ? GPU_ROTATION : 0;
  }

  /**
   * @param rotation bytes, see {@link #rotation(Device)}; 0: the same operands every time
   */
  Bench(Backend backend, Shape shape, DType t, long rotation) {
    this.backend = backend;
    memory = backend.scope();
    NormOps norm = backend.norm();
    long bytes = shape.bytes(t);
    operands(shape, t, rotation == 0 ? 1 : (rotation + 2 * bytes - 1) / (2 * bytes));
    Shape c = Shape.of(shape.channels());
    float[] ones = new float[Math.toIntExact(shape.channels())];
    Arrays.fill(ones, 1);
    DType parameter = t.parameter();
    Affine a = new Affine(memory.empty(c, parameter).copyFrom(ones), memory.zeros(c, parameter));
    Running running =
        new Running(
            memory.zeros(c, DType.F64),
            memory.empty(c, DType.F64).copyFrom(ones),
            memory.zeros(Shape.of(1), DType.I64),
            null,
            true);
    Saved plain = Saved.empty(memory, shape, t, false);
    Saved relu = Saved.empty(memory, shape, t, false);
    Saved gated = Saved.empty(memory, shape, t, true);
    Sums sums = Sums.empty(memory, shape.channels());
    add("copy", 2 * bytes, o -> o.y.copyFrom(o.x));
    add("forward", 2 * bytes, o -> norm.forward(o.x, a, EPS, Activation.NONE, null, plain, o.y));
    add(
        "forward+relu",
        2 * bytes,
        o -> norm.forward(o.x, a, EPS, Activation.RELU, null, relu, o.y));
    add(
        "forward+add+relu",
        3 * bytes,
        o -> norm.forward(o.x, a, EPS, Activation.RELU, o.residual, gated, o.y));
    add(
        "backward",
        3 * bytes,
        o -> norm.backward(o.dy, o.x, plain, Activation.NONE, sums, o.y, null));
    add(
        "backward+relu",
        3 * bytes,
        o -> norm.backward(o.dy, o.x, relu, Activation.RELU, sums, o.y, null));
    add("infer", 2 * bytes, o -> norm.infer(o.x, running, a, EPS, Activation.NONE, null, o.y));
  }

  private void operands(Shape shape, DType t, long wanted) {
    Operands first =
        new Operands(
            data(shape, t, 1), data(shape, t, 2), data(shape, t, 3), memory.empty(shape, t));
    sets.add(first);
    for (long i = 1; i < Math.min(MOST_SETS, wanted); i++) {
      sets.add(
          new Operands(
              memory.empty(shape, t).copyFrom(first.x),
              memory.empty(shape, t).copyFrom(first.residual),
              memory.empty(shape, t).copyFrom(first.dy),
              memory.empty(shape, t)));
    }
  }

  private void add(String name, long bytes, Consumer<Operands> call) {
    Runnable each = () -> sets.forEach(call);
    if (sets.size() == 1) {
      works.add(new Work(name, bytes, 1, each, null));
    } else {
      Recording recording = backend.record(each);
      works.add(new Work(name, bytes, sets.size(), recording::replay, recording));
    }
  }

  /** Random values, written in pieces: a shape may have more elements than an array. */
  private Tensor data(Shape shape, DType t, long seed) {
    Tensor tensor = memory.empty(shape, t);
    Tensor flat = tensor.as(Shape.of(shape.elements()));
    float[] piece = new float[(int) Math.min(shape.elements(), 1 << 20)];
    SplittableRandom random = new SplittableRandom(seed);
    for (int i = 0; i < piece.length; i++) {
      piece[i] = (float) (4 * random.nextDouble() - 2);
    }
    for (long from = 0; from < shape.elements(); from += piece.length) {
      int n = (int) Math.min(piece.length, shape.elements() - from);
      flat.batch(from, from + n).copyFrom(n == piece.length ? piece : Arrays.copyOf(piece, n));
    }
    return tensor;
  }

  /**
   * Measures for about this time, each operation three times at least.
   *
   * @param seconds time for all operations together
   * @param done is told what part of the time has passed, from 0 to 1
   */
  List<Timing> run(double seconds, DoubleConsumer done) {
    long start = System.nanoTime();
    int[] repeats = new int[works.size()];
    for (int i = 0; i < repeats.length; i++) {
      repeats[i] = warmUp(works.get(i), WARM_UP * seconds / repeats.length);
      done.accept(Math.min(1, elapsed(start) / seconds));
    }
    List<double[]> rounds = new ArrayList<>();
    while (rounds.size() < FEWEST_ROUNDS || elapsed(start) < seconds) {
      double[] times = new double[repeats.length];
      for (int i = 0; i < times.length; i++) {
        times[i] = time(works.get(i), repeats[i]);
      }
      rounds.add(times);
      done.accept(Math.min(1, elapsed(start) / seconds));
    }
    return timings(rounds);
  }

  /** How often to repeat the call in a measurement. */
  private int warmUp(Work w, double seconds) {
    long start = System.nanoTime();
    int repeats = 1;
    double last;
    do {
      last = time(w, repeats);
      if (last * w.calls * repeats < SHORTEST) {
        repeats = (int) Math.min(1 << 20, Math.ceil(SHORTEST / last / w.calls));
      }
    } while (elapsed(start) < seconds);
    return repeats;
  }

  private double time(Work w, int repeats) {
    long start = System.nanoTime();
    for (int i = 0; i < repeats; i++) {
      w.run.run();
    }
    backend.synchronize();
    return Math.max(1e-9, elapsed(start)) / repeats / w.calls;
  }

  private static double elapsed(long start) {
    return (System.nanoTime() - start) / 1e9;
  }

  private List<Timing> timings(List<double[]> rounds) {
    List<Timing> timings = new ArrayList<>();
    double copied = works.get(0).bytes;
    for (int i = 0; i < works.size(); i++) {
      int work = i;
      double bytes = works.get(i).bytes;
      double seconds = median(rounds.stream().mapToDouble(r -> r[work]).toArray());
      double ofCopy =
          median(rounds.stream().mapToDouble(r -> (bytes / r[work]) / (copied / r[0])).toArray());
      timings.add(
          new Timing(
              works.get(i).name,
              works.get(i).bytes,
              rounds.size(),
              seconds,
              bytes / seconds / 1e9,
              ofCopy));
    }
    return timings;
  }

  static double median(double[] v) {
    Arrays.sort(v);
    return (v[(v.length - 1) / 2] + v[v.length / 2]) / 2;
  }

  @Override
  public void close() {
    works.stream().map(Work::recording).filter(Objects::nonNull).forEach(Recording::close);
    memory.close();
  }
}
