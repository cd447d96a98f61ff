package org.fusednorm.bench;

import java.util.concurrent.TimeUnit;
import org.fusednorm.nn.Generator;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Whole training steps of the paper's network with batch normalization: draw a batch, upload its
 * rows, gather, forward, loss, backward, descent, running statistics. Steps per second; about 26
 * MFLOP each.
 *
 * <p>{@code benchmarks/training-peers} measures the same step beside other libraries.
 */
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 3)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@State(Scope.Thread)
public class TrainingStepBenchmark {
  /** What {@link org.fusednorm.Backends#open} takes. */
  @Param("cpu")
  public String backend;

  private final Generator random = Figure1.batches();
  private final long[] rows = new long[Figure1.BATCH];
  private Trainer trainer;

  /** Paints the images, which takes seconds. */
  @Setup(Level.Trial)
  public void open() {
    trainer = new FusednormTrainer(backend, Figure1.generate());
  }

  /**
   * One step; where work is asynchronous, JMH's iterations are long enough to hide the last wait.
   */
  @Benchmark
  public void step() {
    Figure1.draw(random, rows);
    trainer.step(rows);
  }

  /** Waits, so that no iteration starts with the work of another. */
  @TearDown(Level.Iteration)
  public void settle() {
    double loss = trainer.loss();
    if (!(loss < 3)) {
      throw new IllegalStateException("the network does not learn: loss " + loss);
    }
  }

  /** Frees the backend. */
  @TearDown(Level.Trial)
  public void close() {
    trainer.close();
  }
}
