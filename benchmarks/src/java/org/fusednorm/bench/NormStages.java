package org.fusednorm.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.regex.Pattern;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.NormOps;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;

/**
 * What the stages of a normalization cost: the sums alone, what is written alone, and both, beside
 * the same traffic without arithmetic. Tells why a fused verb is where it is: what it takes beyond
 * its slower stage has not been overlapped or has not been found in a cache.
 *
 * <p>All of a shape in one process and in turns, in random order, medians over the rounds. {@code
 * benchmarks/cpu-stages} starts it; arguments: a regular expression of shapes, rounds, type, and
 * shapes where others than the usual are wanted.
 */
final class NormStages {
  private static final String[] SHAPES = {
    "NCHW:32x64x112x112",
    "NCHW:32x256x56x56",
    "NCHW:32x512x28x28",
    "NCHW:32x1024x14x14",
    "NCHW:32x2048x7x7",
    "NHWC:32x112x112x64",
    "NHWC:32x56x56x256",
    "NC:8192x4096",
    "NC:256x1024",
    "NC:60x100"
  };

  /** So long a turn takes at least. */
  private static final long TURN_NANOS = 15_000_000;

  private static final double MICROS = 1e3;

  private final Map<String, Runnable> stages = new LinkedHashMap<>();

  /** Passes over one tensor's bytes. */
  private final Map<String, Integer> passes = new LinkedHashMap<>();

  private NormStages() {}

  private void stage(String name, int tensors, Runnable run) {
    stages.put(name, run);
    passes.put(name, tensors);
  }

  private void limits(Block x, Block dy, Block y) {
    long n = x.bytes();
    for (boolean streaming : new boolean[] {true, false}) {
      String how = streaming ? ", past the caches" : ", through them";
      stage(
          "copy" + how, 2, () -> LimitNorm.Native.move(streaming, x.address(), 0, y.address(), n));
      stage(
          "two reads, a write" + how,
          3,
          () -> LimitNorm.Native.move(streaming, x.address(), dy.address(), y.address(), n));
    }
    stage("read", 1, () -> LimitNorm.Native.move(false, x.address(), 0, 0, n));
    stage("two reads", 2, () -> LimitNorm.Native.move(false, x.address(), dy.address(), 0, n));
  }

  private void verbs(NormCase c, Backend backend, Block xData, Block dyData, Block yData) {
    NormOps norm = backend.norm();
    Tensor x = backend.wrap(c.shape(), c.type(), xData.address(), xData);
    Tensor dy = backend.wrap(c.shape(), c.type(), dyData.address(), dyData);
    Tensor y = backend.wrap(c.shape(), c.type(), yData.address(), yData);
    Shape channels = Shape.of(c.channels());
    Affine affine =
        new Affine(
            backend.empty(channels, DType.F32).copyFrom(ones(c.channels())),
            backend.zeros(channels, DType.F32));
    Moments moments = Moments.empty(backend, c.channels());
    Saved saved = Saved.empty(backend, c.shape(), c.type(), false);
    Sums sums = Sums.empty(backend, c.channels());
    Activation none = Activation.NONE;
    stage("moments", 1, () -> norm.moments(x, moments));
    stage("normalize", 2, () -> norm.normalize(x, saved, none, null, y));
    stage("forward", 2, () -> norm.forward(x, affine, NormCase.EPS, none, null, saved, y));
    stage(
        "forward, then its result is read",
        3,
        () -> {
          norm.forward(x, affine, NormCase.EPS, none, null, saved, y);
          norm.moments(y, moments);
        });
    stage("gradient sums", 2, () -> norm.gradientSums(dy, x, saved, none, sums));
    stage("input gradient", 3, () -> norm.inputGradient(dy, x, saved, sums, none, y, null));
    stage("backward", 3, () -> norm.backward(dy, x, saved, none, sums, y, null));
    stages.get("forward").run();
  }

  private static float[] ones(int n) {
    float[] v = new float[n];
    Arrays.fill(v, 1);
    return v;
  }

  /** Microseconds of a call, by stage and round. */
  private Map<String, List<Double>> measure(int rounds) {
    Map<String, List<Double>> times = new LinkedHashMap<>();
    stages.keySet().forEach(s -> times.put(s, new ArrayList<>()));
    List<String> order = new ArrayList<>(stages.keySet());
    Random random = new Random(1);
    for (int round = -1; round < rounds; round++) {
      Collections.shuffle(order, random);
      for (String s : order) {
        double t = turn(stages.get(s));
        if (round >= 0) {
          times.get(s).add(t / MICROS);
        }
      }
    }
    return times;
  }

  /** Nanoseconds of a call. */
  static double turn(Runnable r) {
    r.run();
    long calls = 1;
    while (true) {
      long start = System.nanoTime();
      for (long i = 0; i < calls; i++) {
        r.run();
      }
      long nanos = System.nanoTime() - start;
      if (nanos >= TURN_NANOS) {
        return (double) nanos / calls;
      }
      calls = Math.max(calls + 1, 1 + (long) (1.2 * calls * TURN_NANOS / Math.max(1, nanos)));
    }
  }

  static double median(List<Double> v) {
    List<Double> sorted = new ArrayList<>(v);
    Collections.sort(sorted);
    int n = sorted.size();
    return (sorted.get((n - 1) / 2) + sorted.get(n / 2)) / 2;
  }

  /** Prints one table per shape. */
  public static void main(String[] args) {
    Pattern wanted = Pattern.compile(args[0]);
    int rounds = Integer.parseInt(args[1]);
    DType type = DType.valueOf(args[2]);
    LimitNorm.Native.start(Integer.getInteger("fusednorm.threads"));
    String[] given = Arrays.copyOfRange(args, 3, args.length);
    for (String shape : given.length > 0 ? given : SHAPES) {
      if (!wanted.matcher(shape).find()) {
        continue;
      }
      NormCase c = NormCase.parse(shape, type.name(), "backward");
      NormData data = NormData.random(c);
      try (Backend backend = Backends.open("cpu");
          Block x = new Block(c, data.x());
          Block dy = new Block(c, data.dy());
          Block y = new Block(c.type(), c.elements())) {
        NormStages s = new NormStages();
        s.limits(x, dy, y);
        s.verbs(c, backend, x, dy, y);
        print(c, s, s.measure(rounds));
      }
    }
  }

  private static void print(NormCase c, NormStages s, Map<String, List<Double>> times) {
    System.out.printf(
        Locale.ROOT, "%n| %s %s | us | GB/s | least to most |%n", c.shapeText(), c.type());
    System.out.println("| --- | ---: | ---: | --- |");
    times.forEach(
        (name, t) ->
            System.out.printf(
                Locale.ROOT,
                "| %s | %.1f | %.0f | %.1f to %.1f |%n",
                name,
                median(t),
                s.passes.get(name) * c.dataBytes() / median(t) / 1e3,
                Collections.min(t),
                Collections.max(t)));
  }
}
