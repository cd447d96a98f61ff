package org.fusednorm.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
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
 * A {@link NormCase} in one library; a subclass names the library. Calls per second, and in the
 * line {@code call:bytes} the least bytes that the case must read and write, per second.
 *
 * <p>{@code benchmarks/cpu-peers} runs all of them in turns and compares.
 */
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 5, time = 200, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 200, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@State(Scope.Thread)
public abstract class NormBenchmark {
  /** Layout and extents in memory order. */
  @Param({"NCHW:32x256x56x56", "NHWC:32x56x56x256", "NC:60x100"})
  public String shape;

  /** Type of the data. */
  @Param("F32")
  public String type;

  /** A {@link NormCase.Operation}. */
  @Param({"forward", "forward+relu", "backward", "inference"})
  public String operation;

  /** Where the measured thread stays, unless negative; the JVM's own threads have them all. */
  private static final int PROCESSOR = Integer.getInteger("fusednorm.bench.processor", -1);

  private NormWork work;
  private long bytes;

  /** Prepares the library; what it cannot do is an error. */
  abstract NormWork open(NormCase c, NormData data) throws Exception;

  /** The work between {@link #prepare} and {@link #close}. */
  final NormWork work() {
    return work;
  }

  @Setup(Level.Trial)
  public void prepare() throws Exception {
    if (PROCESSOR >= 0) {
      LimitNorm.Native.stay(PROCESSOR);
    }
    NormCase c = NormCase.parse(shape, type, operation);
    bytes = c.bytes();
    work = open(c, NormData.random(c));
  }

  /** Reported by JMH per second, as every throughput. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.OPERATIONS)
  public static class Traffic {
    /** The least bytes to be read and written. */
    public long bytes;
  }

  @Benchmark
  public void call(Traffic traffic) {
    traffic.bytes += bytes;
    work.call();
  }

  @TearDown(Level.Trial)
  public void close() {
    work.close();
  }
}
