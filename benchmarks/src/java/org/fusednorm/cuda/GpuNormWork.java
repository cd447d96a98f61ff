package org.fusednorm.cuda;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.LongToDoubleFunction;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.NormOps;
import org.fusednorm.Recording;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;

/**
 * The operations of one shape, each of them checked before it is timed: all of its last output was
 * written, and in three channels it has the values that plain loops in double find.
 */
final class GpuNormWork implements AutoCloseable {
  /** The copy of as much data comes first. */
  static final List<String> OPERATIONS =
      List.of(
          "copy",
          "forward",
          "forward+relu",
          "forward+add+relu",
          "backward",
          "backward+relu",
          "infer");

  /** For a profiler: one call of each operation, and no time. */
  static final boolean ONCE = Boolean.getBoolean("fusednorm.bench.once");

  private static final double EPS = 1e-5;
  private static final int ROUNDS = 15;
  private static final int CACHES = 4;
  private static final int MOST_SETS = 48;

  /** Part of the free memory for operands. */
  private static final double ROOM = 0.8;

  /** A prime, so that channels differ. */
  private static final int PERIOD = 1_048_573;

  private static final int PIECE = 1 << 24;

  private record Operands(Tensor x, Tensor residual, Tensor dy, Tensor y) {}

  private final GpuClock clock;
  private final Backend backend;
  private final Shape shape;
  private final DType type;
  private final Scope memory;
  private final List<Operands> sets = new ArrayList<>();
  private final float[] period = new float[PERIOD];
  private final Affine affine;
  private final Running running;
  private final Saved plain;
  private final Saved gated;
  private final Sums sums;

  GpuNormWork(GpuClock clock, Backend backend, CudaDevice gpu, Shape shape, DType type) {
    this.clock = clock;
    this.backend = backend;
    this.shape = shape;
    this.type = type;
    memory = backend.scope();
    // Multiples of 1/64 below 2: exact in every type.
    long random = 1;
    for (int i = 0; i < PERIOD; i++) {
      random = random * 6364136223846793005L + 1442695040888963407L;
      period[i] = ((int) (random >>> 56) - 128) / 64f;
    }
    long bytes = shape.bytes(type);
    long wanted = (CACHES * gpu.cacheBytes() + 2 * bytes - 1) / (2 * bytes);
    long room = (long) (ROOM * clock.free() / (4.0 * bytes));
    long count = ONCE ? 1 : Math.max(1, Math.min(Math.min(MOST_SETS, room), wanted));
    for (long i = 0; i < count; i++) {
      sets.add(i == 0 ? first() : copy(sets.get(0)));
    }
    int channels = Math.toIntExact(shape.channels());
    Shape c = Shape.of(channels);
    float[] gamma = new float[channels];
    float[] beta = new float[channels];
    float[] ones = new float[channels];
    for (int i = 0; i < channels; i++) {
      gamma[i] = (float) gamma(i);
      beta[i] = (float) beta(i);
      ones[i] = 1;
    }
    affine =
        new Affine(
            memory.empty(c, DType.F32).copyFrom(gamma), memory.empty(c, DType.F32).copyFrom(beta));
    running =
        new Running(
            memory.zeros(c, DType.F64),
            memory.empty(c, DType.F64).copyFrom(ones),
            memory.zeros(Shape.of(1), DType.I64),
            null,
            true);
    plain = Saved.empty(memory, shape, type, false);
    gated = Saved.empty(memory, shape, type, true);
    sums = Sums.empty(memory, shape.channels());
    Operands o = sets.get(0);
    backend.norm().forward(o.x, affine, EPS, Activation.RELU, null, plain, o.y);
  }

  private static double gamma(long channel) {
    return 1 + channel % 4 / 4.0;
  }

  private static double beta(long channel) {
    return (channel % 3 - 1) / 2.0;
  }

  private Operands first() {
    return new Operands(data(0), data(1), data(2), memory.empty(shape, type));
  }

  private Operands copy(Operands of) {
    return new Operands(copy(of.x), copy(of.residual), copy(of.dy), memory.empty(shape, type));
  }

  private Tensor copy(Tensor t) {
    return memory.empty(shape, type).copyFrom(t);
  }

  private static int at(int tensor, long i) {
    return (int) ((i + 333_667L * tensor) % PERIOD);
  }

  private double value(int tensor, long i) {
    return period[at(tensor, i)];
  }

  private Tensor data(int tensor) {
    Tensor t = memory.empty(shape, type);
    Tensor flat = t.as(Shape.of(shape.elements()));
    for (long from = 0; from < shape.elements(); from += PIECE) {
      int n = (int) Math.min(PIECE, shape.elements() - from);
      float[] values = new float[n];
      int at = at(tensor, from);
      for (int i = 0; i < n; i++) { // without a division: there are 10^8 of them, and a GPU waits
        values[i] = period[at];
        at = at + 1 < PERIOD ? at + 1 : 0;
      }
      flat.batch(from, from + n).copyFrom(values);
    }
    return t;
  }

  /** The least bytes that an operation must read and write. */
  long bytes(String operation) {
    boolean three = operation.startsWith("backward") || operation.contains("add");
    return (three ? 3 : 2) * shape.bytes(type);
  }

  /** How many operands take turns. */
  int sets() {
    return sets.size();
  }

  /** Seconds of one call. */
  double measure(String operation) {
    Consumer<Operands> call = call(operation);
    if (ONCE) {
      clock.poison(sets.get(0).y);
      call.accept(sets.get(0));
      backend.synchronize();
      check(operation, sets.get(0).y);
      return 1;
    }
    try (Recording recording = backend.record(() -> sets.forEach(call))) {
      sets.forEach(o -> clock.poison(o.y));
      recording.replay();
      backend.synchronize();
      check(operation, sets.get(sets.size() - 1).y);
      return clock.median(ROUNDS, recording::replay) / sets.size();
    }
  }

  private Consumer<Operands> call(String operation) {
    NormOps norm = backend.norm();
    Activation none = Activation.NONE;
    Activation relu = Activation.RELU;
    return switch (operation) {
      case "copy" -> o -> o.y.copyFrom(o.x);
      case "forward" -> o -> norm.forward(o.x, affine, EPS, none, null, plain, o.y);
      case "forward+relu" -> o -> norm.forward(o.x, affine, EPS, relu, null, plain, o.y);
      case "forward+add+relu" -> o -> norm.forward(o.x, affine, EPS, relu, o.residual, gated, o.y);
      case "backward" -> o -> norm.backward(o.dy, o.x, plain, none, sums, o.y, null);
      case "backward+relu" -> o -> norm.backward(o.dy, o.x, plain, relu, sums, o.y, null);
      case "infer" -> o -> norm.infer(o.x, running, affine, EPS, none, null, o.y);
      default -> throw new IllegalArgumentException(operation);
    };
  }

  /**
   * Looks at an output.
   *
   * @throws IllegalStateException if an element was not written or has not the right value
   */
  void check(String operation, Tensor y) {
    Tensor flat = y.as(Shape.of(shape.elements()));
    long channels = shape.channels();
    List<Long> looked = List.of(0L, channels / 2, channels - 1);
    LongToDoubleFunction[] expected = new LongToDoubleFunction[Math.toIntExact(channels)];
    looked.forEach(c -> expected[c.intValue()] = expected(operation, c));
    double tolerance =
        switch (type) {
          case F32 -> 2e-5;
          case F16 -> 2e-3;
          default -> 1.6e-2;
        };
    for (long from = 0; from < shape.elements(); from += PIECE) {
      long to = Math.min(shape.elements(), from + PIECE);
      float[] got = flat.batch(from, to).toFloats();
      int channel = (int) (from / shape.inner() % channels);
      long left = shape.inner() - from % shape.inner(); // in its plane
      for (long i = from; i < to; i++) {
        float v = got[(int) (i - from)];
        LongToDoubleFunction exact = expected[channel];
        double off = exact == null ? v - v : v - exact.applyAsDouble(i);
        if (!(Math.abs(off) <= tolerance * (1 + Math.abs(v)))) {
          throw new IllegalStateException(
              operation
                  + " of "
                  + shape
                  + " "
                  + type
                  + ": element "
                  + i
                  + " is "
                  + v
                  + ", off by "
                  + off);
        }
        if (--left == 0) {
          left = shape.inner();
          channel = channel + 1 < channels ? channel + 1 : 0;
        }
      }
    }
  }

  /** What an element of a channel must be, by its index in the data. */
  private LongToDoubleFunction expected(String operation, long channel) {
    if (operation.equals("copy")) {
      return i -> value(0, i);
    }
    double a = gamma(channel);
    double b = beta(channel);
    if (operation.equals("infer")) {
      return i -> value(0, i) / Math.sqrt(1 + EPS) * a + b;
    }
    double n = shape.valuesPerChannel();
    double mean = sum(channel, i -> value(0, i)) / n;
    double variance = sum(channel, i -> Math.pow(value(0, i) - mean, 2)) / n;
    double invstd = 1 / Math.sqrt(variance + EPS);
    LongToDoubleFunction xhat = i -> (value(0, i) - mean) * invstd;
    boolean relu = operation.endsWith("relu");
    boolean add = operation.contains("add");
    LongToDoubleFunction y = i -> xhat.applyAsDouble(i) * a + b + (add ? value(1, i) : 0);
    if (operation.startsWith("forward")) {
      return i -> relu ? Math.max(0, y.applyAsDouble(i)) : y.applyAsDouble(i);
    }
    LongToDoubleFunction dy = i -> relu && y.applyAsDouble(i) <= 0 ? 0 : value(2, i);
    double meanDy = sum(channel, dy) / n;
    double meanProduct = sum(channel, i -> dy.applyAsDouble(i) * xhat.applyAsDouble(i)) / n;
    return i -> a * invstd * (dy.applyAsDouble(i) - meanDy - xhat.applyAsDouble(i) * meanProduct);
  }

  private double sum(long channel, LongToDoubleFunction of) {
    double sum = 0;
    for (long o = 0; o < shape.outer(); o++) {
      long first = (o * shape.channels() + channel) * shape.inner();
      for (long i = first; i < first + shape.inner(); i++) {
        sum += of.applyAsDouble(i);
      }
    }
    return sum;
  }

  @Override
  public void close() {
    memory.close();
  }
}
