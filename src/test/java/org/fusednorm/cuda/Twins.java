package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;

import java.util.Arrays;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/** The same tensors on two backends, the reference and the one that is tested. */
final class Twins implements AutoCloseable {
  /** What lies before and behind a tensor, and in outputs: no result. */
  private static final double UNWRITTEN = 37;

  private static final int BEHIND = 3;

  private final Scope truth;
  private final Scope tested;

  Twins(Backend reference, Backend tested) {
    truth = reference.scope();
    this.tested = tested.scope();
  }

  /** One tensor on both, in the middle of memory that nobody may touch. */
  static final class Twin {
    final Tensor truth;
    final Tensor tested;
    private final Tensor wholeTruth;
    private final Tensor wholeTested;

    private Twin(Twins of, Shape s, DType t, int before, double[] values) {
      Shape whole = Shape.of(before + s.elements() + BEHIND);
      double[] all = new double[(int) whole.elements()];
      Arrays.fill(all, UNWRITTEN);
      System.arraycopy(values, 0, all, before, values.length);
      wholeTruth = of.truth.empty(whole, t).copyFrom(all);
      wholeTested = of.tested.empty(whole, t).copyFrom(all);
      truth = wholeTruth.batch(before, before + s.elements()).as(s);
      tested = wholeTested.batch(before, before + s.elements()).as(s);
    }

    /** Fails unless both hold the same, give or take the threshold, and nothing around changed. */
    void check(String what, double threshold) {
      assertClose(what, wholeTruth.toDoubles(), wholeTested.toDoubles(), threshold);
    }
  }

  /**
   * A tensor of these values.
   *
   * @param before elements before it: its address is that many elements off from an aligned one
   */
  Twin of(Shape s, DType t, int before, double... values) {
    return new Twin(this, s, t, before, values);
  }

  /** A place for an output. */
  Twin output(Shape s, DType t, int before) {
    double[] values = new double[(int) s.elements()];
    Arrays.fill(values, UNWRITTEN);
    return of(s, t, before, values);
  }

  @Override
  public void close() {
    truth.close();
    tested.close();
  }
}
