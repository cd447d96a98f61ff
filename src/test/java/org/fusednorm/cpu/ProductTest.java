package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Values;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Both ways to multiply, against sums in double. */
class ProductTest {
  record Case(int m, int k, int n) {}

  static Stream<Case> cases() {
    return Stream.of(
        new Case(1, 1, 1),
        new Case(3, 5, 7),
        new Case(60, 784, 100),
        new Case(60, 100, 10),
        new Case(33, 129, 257),
        new Case(100, 60, 784),
        new Case(70, 600, 300),
        new Case(900, 60, 100),
        new Case(300, 600, 70),
        new Case(2, 0, 3),
        new Case(0, 4, 3),
        new Case(4, 4, 0));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithDouble(Case c) {
    for (DType t : List.of(DType.F32, DType.F64)) {
      for (int flags = 0; flags < 8; flags++) {
        boolean ta = (flags & 1) != 0;
        boolean tb = (flags & 2) != 0;
        Write w = (flags & 4) != 0 ? Write.ADD : Write.SET;
        double[] a = Values.normal(t, 1, c.m * c.k, 0, 1);
        double[] b = Values.normal(t, 2, c.k * c.n, 0, 1);
        double[] before = Values.normal(t, 3, c.m * c.n, 0, 1);
        double[] expected = expected(c, ta, tb, w, a, b, before);
        // Errors of a sum grow with its length.
        double limit = (t == DType.F64 ? 2e-16 : 1e-7) * (4 + c.k);
        try (Backend backend = TestBackends.over(new CpuEngine(2));
            Scope m = backend.scope()) {
          Tensor at = Values.tensor(m, ta ? Shape.of(c.k, c.m) : Shape.of(c.m, c.k), t, a);
          Tensor bt = Values.tensor(m, tb ? Shape.of(c.n, c.k) : Shape.of(c.k, c.n), t, b);
          Tensor ct = Values.tensor(m, Shape.of(c.m, c.n), t, before);
          String what = c + " " + t + " " + ta + " " + tb + " " + w;
          backend.math().matmul(at, ta, bt, tb, ct, w);
          Values.assertClose(what, expected, ct.toDoubles(), limit);

          ct.copyFrom(before);
          Gemm plain = new Gemm();
          plain.a.set(at);
          plain.b.set(bt);
          plain.c.set(ct);
          try (Workers workers = new Workers(2)) {
            workers.run(plain, plain.set(ta, tb, c.m, c.n, c.k, w));
            Values.assertClose("plain " + what, expected, ct.toDoubles(), limit);
            for (boolean packs : new boolean[] {false, true}) {
              ct.copyFrom(before);
              new Product(workers, packs).matmul(at, ta, bt, tb, ct, w);
              String cut = packs ? "cut for packing " : "cut for small ones ";
              Values.assertClose(cut + what, expected, ct.toDoubles(), limit);
            }
          }
        }
      }
    }
  }

  private static double[] expected(
      Case c, boolean ta, boolean tb, Write w, double[] a, double[] b, double[] before) {
    double[] out = w == Write.ADD ? before.clone() : new double[before.length];
    for (int i = 0; i < c.m; i++) {
      for (int j = 0; j < c.n; j++) {
        for (int q = 0; q < c.k; q++) {
          double left = a[ta ? q * c.m + i : i * c.k + q];
          out[i * c.n + j] += left * b[tb ? j * c.k + q : q * c.n + j];
        }
      }
    }
    return out;
  }

  /** OpenBLAS on one thread per call must be safe to call from several. */
  @Test
  void callsFromSeveralThreadsGiveTheSameBits() throws InterruptedException {
    int n = 96;
    double[] v = Values.normal(DType.F32, 5, n * n, 0, 1);
    double[][] results = new double[4][];
    Thread[] threads = new Thread[results.length];
    try (Backend b = TestBackends.over(new CpuEngine(2));
        Scope m = b.scope()) {
      Tensor x = Values.tensor(m, Shape.of(n, n), DType.F32, v);
      for (int i = 0; i < threads.length; i++) {
        int at = i;
        Tensor y = m.empty(Shape.of(n, n), DType.F32);
        threads[i] =
            new Thread(
                () -> {
                  for (int round = 0; round < 500; round++) {
                    b.math().matmul(x, round % 2 == 0, x, false, y, Write.SET);
                  }
                  results[at] = y.toDoubles();
                });
      }
      for (Thread t : threads) {
        t.start();
      }
      for (Thread t : threads) {
        t.join();
      }
    }
    for (double[] r : results) {
      assertTrue(Arrays.equals(results[0], r));
    }
  }

  /** Multiplies in a JVM of its own and says how. */
  static final class Multiply {
    public static void main(String[] args) {
      try (Backend b = Backends.open("cpu");
          Scope m = b.scope()) {
        Tensor two = m.of(Shape.of(1, 2), 2, 3);
        Tensor c = m.empty(Shape.of(1, 1), DType.F32);
        b.math().matmul(two, false, two, true, c, Write.SET);
        System.out.println(c.toFloats()[0] + " by " + b.description());
      }
    }
  }

  @Test
  void switchedOffPlainJavaTakesOver() {
    ForkedJvm.Result r = ForkedJvm.run(List.of("-Dfusednorm.openblas=off"), Multiply.class);
    assertEquals(0, r.exit(), r.output());
    String expected = "plain Java matrix products (switched off by -Dfusednorm.openblas=off";
    assertTrue(r.output().startsWith("13.0 by ") && r.output().contains(expected), r.output());
  }

  @Test
  void withoutItsJarsPlainJavaTakesOver() {
    String path =
        String.join(
            File.pathSeparator,
            Stream.of(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(p -> !p.contains("openblas") && !p.contains("javacpp"))
                .toList());
    ForkedJvm.Result r = ForkedJvm.start(path, Map.of(), List.of(), Multiply.class).await();
    assertEquals(0, r.exit(), r.output());
    String expected = "plain Java matrix products (OpenBLAS cannot be loaded: ";
    assertTrue(r.output().startsWith("13.0 by ") && r.output().contains(expected), r.output());
  }
}
