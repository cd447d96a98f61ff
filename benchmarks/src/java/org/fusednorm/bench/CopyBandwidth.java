package org.fusednorm.bench;

import java.nio.ByteBuffer;
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
import org.openjdk.jmh.annotations.Warmup;

/**
 * What the memory of this machine can do: one thread copying one block into another.
 *
 * <p>Normalization is bound by memory, so every other number of these benchmarks is read as a
 * fraction of this one at the same size. A copy of n bytes moves 2n: it reads n and writes n. Look
 * at the line {@code copy:bytes}: bytes per second.
 */
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@State(Scope.Thread)
public class CopyBandwidth {
  /** Bytes of one block: within the second-level cache, within the last level, and beyond. */
  @Param({"262144", "8388608", "134217728"})
  public int bytes;

  private ByteBuffer source;
  private ByteBuffer target;

  /** Touches both blocks, so that no page is first seen inside a measurement. */
  @Setup(Level.Trial)
  public void allocate() {
    source = ByteBuffer.allocateDirect(bytes);
    target = ByteBuffer.allocateDirect(bytes);
    for (int i = 0; i < bytes; i += 512) {
      source.put(i, (byte) i);
      target.put(i, (byte) 1);
    }
  }

  /** Reported by JMH per second, as every throughput. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.OPERATIONS)
  public static class Traffic {
    /** Bytes read and bytes written. */
    public long bytes;
  }

  @Benchmark
  public ByteBuffer copy(Traffic traffic) {
    traffic.bytes += 2L * bytes;
    return target.put(0, source, 0, bytes);
  }
}
