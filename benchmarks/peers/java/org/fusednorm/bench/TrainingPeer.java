package org.fusednorm.bench;

import com.google.gson.Gson;
import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.fusednorm.nn.Generator;

/**
 * The process of one measured library: reads commands, answers each by one line of JSON.
 *
 * <ul>
 *   <li>{@code trace N}: makes the first N steps; their losses and the running statistics after
 *       them. Comes first.
 *   <li>{@code measure SECONDS}: trains for so long; the steps made, their time and the last loss.
 * </ul>
 *
 * <p>{@code numpy_figure1.py} does the same.
 */
final class TrainingPeer {
  /** Steps between two looks at the clock. */
  private static final int BLOCK = 20;

  /** Who answers. */
  record Hello(String description) {}

  /** Answer to {@code trace}. */
  record Trace(double[] losses, float[] running) {}

  /** Answer to {@code measure}; {@code cpu} is the processor time of all threads, in seconds. */
  record Measurement(long steps, double seconds, double cpu, double loss) {
    double rate() {
      return steps / seconds;
    }
  }

  private final Trainer trainer;
  private final Generator random = Figure1.batches();
  private final long[] rows = new long[Figure1.BATCH];

  private TrainingPeer(Trainer trainer) {
    this.trainer = trainer;
  }

  /**
   * Serves until its input ends.
   *
   * @param args {@code djl} or the name of a backend, and the folder of the data
   */
  public static void main(String[] args) throws IOException {
    // What libraries print must not get between the answers.
    PrintStream answers = System.out;
    System.setOut(System.err);
    Gson gson = new Gson();
    Figure1 data = Figure1.read(Path.of(args[1]));
    BufferedReader commands =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (Trainer trainer =
        args[0].equals("djl") ? new DjlTrainer(data) : new FusednormTrainer(args[0], data)) {
      TrainingPeer peer = new TrainingPeer(trainer);
      answers.println(gson.toJson(new Hello(trainer.description())));
      for (String line; (line = commands.readLine()) != null; ) {
        String[] words = line.split(" ");
        Object answer =
            words[0].equals("trace")
                ? peer.trace(Integer.parseInt(words[1]))
                : peer.measure(Double.parseDouble(words[1]));
        answers.println(gson.toJson(answer));
      }
    }
  }

  private Trace trace(int steps) {
    double[] losses = new double[steps];
    for (int i = 0; i < steps; i++) {
      step();
      losses[i] = trainer.loss();
    }
    return new Trace(losses, trainer.running());
  }

  private Measurement measure(double seconds) {
    OperatingSystemMXBean process =
        ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    long cpuBefore = process.getProcessCpuTime();
    long start = System.nanoTime();
    long steps = 0;
    long nanos;
    double loss;
    do {
      for (int i = 0; i < BLOCK; i++) {
        step();
      }
      steps += BLOCK;
      loss = trainer.loss();
      nanos = System.nanoTime() - start;
    } while (nanos < seconds * 1e9);
    long cpu = process.getProcessCpuTime() - cpuBefore;
    return new Measurement(steps, nanos / 1e9, cpu / 1e9, loss);
  }

  private void step() {
    Figure1.draw(random, rows);
    trainer.step(rows);
  }
}
