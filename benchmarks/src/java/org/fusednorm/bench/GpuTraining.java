package org.fusednorm.bench;

import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.nn.Generator;

/**
 * Training steps per second, each step a replayed recording (a CUDA graph on a GPU): the paper's
 * network with its batches uploaded, and the batch normalizations of ResNet-50 with ReLU, forward
 * in order, backward in reverse, running statistics committed at the end. {@code
 * benchmarks/peers/gpu_training.py} does the same in PyTorch.
 *
 * <p>{@code GpuTraining RESULT.json SECONDS BACKEND BATCH SIDE TYPE,TYPE}: SECONDS for each of
 * them, BATCH images of SIDE x SIDE pixels, which is 224 for ResNet-50. A row has numbers that are
 * the same on every backend but for rounding: the losses of the first steps, and the norm of all
 * gradients of gamma and beta.
 */
public final class GpuTraining {
  private static final int ROUNDS = 7;
  private static final int LOSSES = 5;
  private static final double EPS = 1e-5;

  private static final int SIDE = 224;

  /** Channels, height and width, how many: the 53 layers of ResNet-50 on images of 224 x 224. */
  private static final int[][] LAYERS = {
    {64, 112, 1}, {64, 56, 6}, {256, 56, 4}, {128, 56, 1}, {128, 28, 7}, {512, 28, 5},
    {256, 28, 1}, {256, 14, 11}, {1024, 14, 7}, {512, 14, 1}, {512, 7, 5}, {2048, 7, 4}
  };

  private GpuTraining() {}

  private record Row(
      String peer,
      String network,
      String dtype,
      String mode,
      int batch,
      Double stepsPerSecond,
      double[] losses,
      Double gradientNorm,
      String error) {}

  private record Outcome(double stepsPerSecond, double[] losses, Double gradientNorm) {}

  /** Runs; prints a line for each row. */
  public static void main(String[] args) throws IOException {
    if (args.length != 6) {
      System.err.println("usage: GpuTraining RESULT.json SECONDS BACKEND BATCH SIDE TYPE,TYPE");
      System.exit(2);
    }
    double seconds = Double.parseDouble(args[1]);
    String backend = args[2];
    int batch = Integer.parseInt(args[3]);
    int side = Integer.parseInt(args[4]);
    Path result = Path.of(args[0]);
    List<Row> rows = new ArrayList<>();
    String paper = "paper's network";
    rows.add(row(paper, "F32", Figure1.BATCH, () -> paper(backend, seconds)));
    write(result, rows);
    for (String type : args[5].split(",")) {
      DType t = DType.valueOf(type);
      rows.add(
          row("ResNet-50 layers", type, batch, () -> layers(backend, batch, side, t, seconds)));
      write(result, rows);
    }
  }

  /** After each row: who is ended for lack of time keeps those before. */
  private static void write(Path result, List<Row> rows) throws IOException {
    String json = new GsonBuilder().setPrettyPrinting().create().toJson(Map.of("rows", rows));
    Path part = result.resolveSibling("." + result.getFileName() + ".tmp");
    Files.writeString(part, json + "\n");
    Files.move(part, result, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }

  private interface Measurement {
    Outcome run();
  }

  private static Row row(String network, String type, int batch, Measurement m) {
    Row row;
    try {
      Outcome o = m.run();
      row =
          new Row(
              "fusednorm",
              network,
              type,
              "graph",
              batch,
              o.stepsPerSecond,
              o.losses,
              o.gradientNorm,
              null);
    } catch (RuntimeException e) {
      row = new Row("fusednorm", network, type, "graph", batch, null, null, null, e.toString());
    }
    System.out.printf(
        "%s %s: %s%n",
        network, type, row.error != null ? row.error : row.stepsPerSecond + " steps/s");
    return row;
  }

  private static Outcome paper(String backend, double seconds) {
    try (Trainer trainer = new FusednormTrainer(backend, Figure1.generate())) {
      Generator random = Figure1.batches();
      long[] rows = new long[Figure1.BATCH];
      Runnable step =
          () -> {
            Figure1.draw(random, rows);
            trainer.step(rows);
          };
      double[] losses = new double[LOSSES];
      for (int i = 0; i < LOSSES; i++) {
        step.run();
        losses[i] = trainer.loss();
      }
      double rate = rate(seconds, step, trainer::loss);
      if (!(trainer.loss() < 3)) {
        throw new IllegalStateException("the network does not learn: loss " + trainer.loss());
      }
      return new Outcome(rate, losses, null);
    }
  }

  private static Outcome layers(String name, int batch, int side, DType t, double seconds) {
    try (Backend backend = Backends.open(name);
        Scope memory = backend.scope()) {
      List<Runnable> forward = new ArrayList<>();
      List<Runnable> backward = new ArrayList<>();
      List<Saved> saved = new ArrayList<>();
      List<Running> running = new ArrayList<>();
      List<Tensor> outputs = new ArrayList<>();
      List<Affine> slopes = new ArrayList<>();
      Scalar momentum = memory.scalar(0.1);
      for (int[] layer : LAYERS) {
        for (int i = 0; i < layer[2]; i++) {
          long extent = Math.max(1, (long) layer[1] * side / SIDE);
          Shape s = Shape.nchw(batch, layer[0], extent, extent);
          Shape c = Shape.of(layer[0]);
          Tensor x = data(memory, s, t, 3);
          Tensor dy = data(memory, s, t, 5);
          Tensor y = memory.empty(s, t);
          Tensor dx = memory.empty(s, t);
          float[] ones = new float[layer[0]];
          Arrays.fill(ones, 1);
          Tensor gamma = memory.empty(c, DType.F32).copyFrom(ones);
          Tensor beta = memory.zeros(c, DType.F32);
          Affine affine = new Affine(gamma, beta);
          Affine gradients = new Affine(memory.zeros(c, DType.F32), memory.zeros(c, DType.F32));
          Saved kept = Saved.empty(memory, s, t, false);
          Sums sums = Sums.empty(memory, layer[0]);
          saved.add(kept);
          running.add(
              new Running(
                  memory.zeros(c, DType.F64),
                  memory.zeros(c, DType.F64),
                  memory.zeros(Shape.of(1), DType.I64),
                  momentum,
                  true));
          outputs.add(dx);
          slopes.add(gradients);
          forward.add(() -> backend.norm().forward(x, affine, EPS, Activation.RELU, null, kept, y));
          backward.add(
              0,
              () -> {
                backend.norm().backward(dy, x, kept, Activation.RELU, sums, dx, null);
                backend.norm().gradients(sums, gradients, Write.SET);
              });
        }
      }
      Runnable step =
          () -> {
            forward.forEach(Runnable::run);
            backward.forEach(Runnable::run);
            backend.norm().commit(saved, running);
          };
      try (Recording recording = backend.record(step)) {
        recording.replay();
        double norm = norm(slopes);
        double rate = rate(seconds, recording::replay, backend::synchronize);
        Tensor last = outputs.get(0);
        float some = last.as(Shape.of(last.shape().elements())).batch(0, 1).toFloats()[0];
        if (!Float.isFinite(some)) {
          throw new IllegalStateException("a gradient is " + some);
        }
        return new Outcome(rate, null, norm);
      }
    }
  }

  private static double norm(List<Affine> gradients) {
    double sum = 0;
    for (Affine g : gradients) {
      for (Tensor t : List.of(g.gamma(), g.beta())) {
        for (float v : t.toFloats()) {
          sum += (double) v * v;
        }
      }
    }
    return Math.sqrt(sum);
  }

  private static Tensor data(Scope memory, Shape s, DType t, int seed) {
    Tensor tensor = memory.empty(s, t);
    Tensor flat = tensor.as(Shape.of(s.elements()));
    float[] piece = new float[(int) Math.min(s.elements(), 1 << 20)];
    Generator random = new Generator(seed);
    for (int i = 0; i < piece.length; i++) {
      piece[i] = (float) random.nextGaussian();
    }
    for (long from = 0; from < s.elements(); from += piece.length) {
      int n = (int) Math.min(piece.length, s.elements() - from);
      flat.batch(from, from + n).copyFrom(n == piece.length ? piece : Arrays.copyOf(piece, n));
    }
    return tensor;
  }

  /** Steps per second, the median of rounds that each end with a wait; of one if steps are slow. */
  private static double rate(double seconds, Runnable step, Runnable await) {
    long steps = 1;
    double last = time(steps, step, await);
    while (last < seconds / ROUNDS / 2) { // warms up
      steps = Math.max(steps + 1, (long) (steps * Math.min(10, seconds / ROUNDS / last)));
      last = time(steps, step, await);
    }
    double[] rates = new double[last < seconds ? ROUNDS : 1];
    for (int i = 0; i < rates.length; i++) {
      rates[i] = steps / time(steps, step, await);
    }
    Arrays.sort(rates);
    return rates[rates.length / 2];
  }

  private static double time(long steps, Runnable step, Runnable await) {
    await.run();
    long start = System.nanoTime();
    for (long i = 0; i < steps; i++) {
      step.run();
    }
    await.run();
    return (System.nanoTime() - start) / 1e9;
  }
}
