package org.fusednorm.cpu;

import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** Matrix products. One per Java thread. */
final class Product {
  private final Workers workers;
  private final Gemm plain = new Gemm();

  Product(Workers workers) {
    this.workers = workers;
  }

  static String describe() {
    return "plain-Java matrix products";
  }

  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    int rows = Math.toIntExact(MathCall.rows(c));
    int columns = Math.toIntExact(MathCall.columns(c));
    int depth = Math.toIntExact(transposeA ? MathCall.rows(a) : MathCall.columns(a));
    plain.a.set(a);
    plain.b.set(b);
    plain.c.set(c);
    workers.run(plain, plain.set(transposeA, transposeB, rows, columns, depth, w));
  }
}
