package org.fusednorm.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadInfo;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.MemoryReport;
import org.fusednorm.Recording;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.host.NativeLibrary;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A training step of the paper's network (784-100-100-100-10, batch normalization, batches of 60)
 * allocates nothing: on the Java heap of any thread, in the backend, or in the native library.
 */
class AllocationTest {
  private static final int WARM_UP = 200;
  private static final int STEPS = 50;
  private static final int ROUNDS = 5;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void stepAllocatesNothing(String name) {
    try (Backend b = Backends.open(name)) {
      // The oracle's plain loops and the emulator of a GPU would take minutes for the whole
      // network.
      int in = name.equals("cpu") ? 784 : 8;
      int hidden = name.equals("cpu") ? 100 : 6;
      Sequential net = Nets.sigmoid(b, DType.F32, true, 1, in, hidden, hidden, hidden, 10);
      Sgd sgd = Sgd.builder(b, net.parameters()).learningRate(0.1).momentum(0.9).build();
      Tensor table = Nets.gaussian(b, Shape.nc(300, in), DType.F32, 1);
      Tensor classes = Nets.labels(b, 10, 300, 2);
      Tensor rows = b.zeros(Shape.of(60), DType.I64);
      Tensor x = b.empty(Shape.nc(60, in), DType.F32);
      Tensor labels = b.empty(Shape.of(60), DType.I64);
      Nets.Step step = new Nets.Step(net, sgd, x, labels);
      Runnable training =
          () -> {
            b.math().gather(table, rows, 1, x);
            b.math().gather(classes, rows, 1, labels);
            step.run();
          };
      Scalar rate = sgd.learningRate();
      long[] batch = new long[60];
      assertAllocatesNothing(b, "eager", rows, batch, rate, training);
      try (Recording recording = b.record(training)) {
        assertAllocatesNothing(b, "replayed", rows, batch, rate, recording::replay);
      }
    }
  }

  private static void assertAllocatesNothing(
      Backend b, String what, Tensor rows, long[] batch, Scalar rate, Runnable step) {
    run(rows, batch, rate, step, WARM_UP);
    MemoryReport memory = b.memory();
    long nativeBytes = nativeBytes();
    assertEquals(
        allocated(() -> {}),
        allocated(() -> run(rows, batch, rate, step, STEPS)),
        what + ": bytes on the Java heap by thread");
    assertEquals(memory, b.memory(), what + ": tensor memory");
    assertEquals(nativeBytes, nativeBytes(), what + ": native memory");
  }

  private static void run(Tensor rows, long[] batch, Scalar rate, Runnable step, int steps) {
    for (int i = 0; i < steps; i++) {
      for (int j = 0; j < batch.length; j++) {
        batch[j] = (31L * i + 7L * j) % 300;
      }
      rows.copyFrom(batch);
      rate.set(0.1 / (1 + i));
      step.run();
    }
  }

  /**
   * Bytes that each thread allocates meanwhile: the least of some rounds, because the JVM puts work
   * of its own on any thread now and then, and a step would allocate in every round. Threads of the
   * test runner are left out.
   */
  private static Map<String, Long> allocated(Runnable work) {
    long[] threads =
        Arrays.stream(THREADS.getThreadInfo(THREADS.getAllThreadIds()))
            .filter(t -> t != null && !t.getThreadName().startsWith("surefire-"))
            .mapToLong(ThreadInfo::getThreadId)
            .toArray();
    long[] least = new long[threads.length];
    Arrays.fill(least, Long.MAX_VALUE);
    for (int round = 0; round < ROUNDS; round++) {
      long[] before = THREADS.getThreadAllocatedBytes(threads);
      work.run();
      long[] after = THREADS.getThreadAllocatedBytes(threads);
      for (int i = 0; i < threads.length; i++) {
        least[i] = Math.min(least[i], after[i] - before[i]);
      }
    }
    Map<String, Long> byThread = new TreeMap<>();
    for (int i = 0; i < threads.length; i++) {
      byThread.put(threads[i] + " " + THREADS.getThreadInfo(threads[i]).getThreadName(), least[i]);
    }
    return byThread;
  }

  private static long nativeBytes() {
    return NativeLibrary.isAvailable() ? NativeLibrary.allocatedBytes() : 0;
  }
}
