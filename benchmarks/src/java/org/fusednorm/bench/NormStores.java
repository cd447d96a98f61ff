package org.fusednorm.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Moments;
import org.fusednorm.NormOps;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.cpu.StoringBackends;

/**
 * What it costs to store a result past the caches, or through them: of a verb alone, and with
 * something that reads its result next. Both sides in one process and in turns, on the same memory.
 * {@code benchmarks/cpu-stages --stores} starts it; arguments: rounds, type, shapes.
 */
final class NormStores {
  private static final String[] SHAPES = {
    "NCHW:32x512x7x7",
    "NCHW:32x1024x7x7",
    "NCHW:32x1536x7x7",
    "NCHW:32x2048x7x7",
    "NCHW:32x3072x7x7",
    "NCHW:32x3584x7x7",
    "NCHW:32x1024x14x14",
    "NCHW:32x128x28x28",
    "NCHW:32x192x28x28",
    "NCHW:32x512x28x28",
    "NHWC:32x14x14x256",
    "NHWC:32x28x28x128",
    "NHWC:32x28x28x256",
    "NC:256x1024",
    "NC:2048x1024",
    "NC:4096x1024"
  };

  /** One side: the same verbs on the same memory. */
  private static final class Side implements AutoCloseable {
    private final Backend backend;
    private final Map<String, Runnable> calls = new LinkedHashMap<>();

    Side(NormCase c, boolean past, List<Block> memory) {
      backend = StoringBackends.open(Integer.getInteger("fusednorm.threads"), past);
      NormOps norm = backend.norm();
      List<Tensor> t =
          memory.stream().map(b -> backend.wrap(c.shape(), c.type(), b.address(), b)).toList();
      Tensor x = t.get(0);
      Tensor dy = t.get(1);
      Tensor other = t.get(2);
      Tensor y = t.get(3);
      Tensor z = t.get(4);
      Activation none = Activation.NONE;
      Affine affine = Affine.NONE;
      Moments moments = Moments.empty(backend, c.channels());
      Sums sums = Sums.empty(backend, c.channels());
      Saved saved = Saved.empty(backend, c.shape(), c.type(), false);
      Saved next = Saved.empty(backend, c.shape(), c.type(), false);
      Running running = Running.moving(backend, c.channels(), 0.1, true);
      Runnable forward = () -> norm.forward(x, affine, NormCase.EPS, none, null, saved, y);
      Runnable infer = () -> norm.infer(x, running, affine, NormCase.EPS, none, null, y);
      Runnable backward = () -> norm.backward(dy, x, saved, none, sums, y, null);
      norm.forward(other, affine, NormCase.EPS, none, null, next, y);
      forward.run();
      calls.put("forward", forward);
      then("forward, moments", forward, () -> norm.moments(y, moments));
      then(
          "forward, forward",
          forward,
          () -> norm.forward(y, affine, NormCase.EPS, none, null, next, z));
      calls.put("inference", infer);
      then(
          "inference, inference",
          infer,
          () -> norm.infer(y, running, affine, NormCase.EPS, none, null, z));
      calls.put("backward", backward);
      then(
          "backward, gradient sums", backward, () -> norm.gradientSums(y, other, next, none, sums));
      then(
          "backward, backward", backward, () -> norm.backward(y, other, next, none, sums, z, null));
    }

    private void then(String name, Runnable first, Runnable second) {
      calls.put(
          name,
          () -> {
            first.run();
            second.run();
          });
    }

    @Override
    public void close() {
      backend.close();
    }
  }

  private NormStores() {}

  /** Microseconds past the caches and through them, and the median of their ratios in a round. */
  private static String compare(List<double[]> rounds) {
    double[] median = new double[3];
    for (int i = 0; i < 3; i++) {
      int at = i;
      median[i] =
          NormStages.median(rounds.stream().map(r -> at < 2 ? r[at] : r[0] / r[1]).toList());
    }
    return String.format(Locale.ROOT, "%.0f / %.0f = %.2f", median[0], median[1], median[2]);
  }

  private static void measure(NormCase c, int rounds) {
    NormData data = NormData.random(c);
    List<Block> memory = new ArrayList<>();
    for (NormData.Values v : List.of(data.x(), data.dy(), data.residual(), data.x(), data.x())) {
      memory.add(new Block(c, v));
    }
    Map<String, List<double[]>> times = new LinkedHashMap<>();
    Random random = new Random(1);
    try (Side past = new Side(c, true, memory);
        Side through = new Side(c, false, memory)) {
      past.calls.keySet().forEach(name -> times.put(name, new ArrayList<>()));
      List<String> order = new ArrayList<>(times.keySet());
      for (int round = -1; round < rounds; round++) {
        Collections.shuffle(order, random);
        for (String name : order) {
          double[] t = new double[2];
          int first = random.nextInt(2);
          for (int i = first; i < first + 2; i++) {
            t[i % 2] = NormStages.turn((i % 2 == 0 ? past : through).calls.get(name)) / 1e3;
          }
          if (round >= 0) {
            times.get(name).add(t);
          }
        }
      }
      System.out.printf(Locale.ROOT, "| %s | %.1f |", c.shapeText(), c.dataBytes() / 1048576.0);
      times.forEach((name, t) -> System.out.print(" " + compare(t) + " |"));
      System.out.println();
    } finally {
      memory.forEach(Block::close);
    }
  }

  /** Prints one row per shape. */
  public static void main(String[] args) {
    int rounds = Integer.parseInt(args[0]);
    DType type = DType.valueOf(args[1]);
    String[] given = Arrays.copyOfRange(args, 2, args.length);
    System.out.println(
        "us past the caches / through them = median of the ratios; MB of one tensor\n\n"
            + "| shape | MB | forward | and moments of y | and forward of y | inference"
            + " | and inference of y | backward | and sums of dx | and backward of dx |\n"
            + "| --- | ---: | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (String shape : given.length > 0 ? given : SHAPES) {
      measure(NormCase.parse(shape, type.name(), "backward"), rounds);
    }
  }
}
