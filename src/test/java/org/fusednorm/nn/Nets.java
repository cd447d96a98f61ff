package org.fusednorm.nn;

import java.util.LinkedHashMap;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** What the tests of this package share. */
final class Nets {
  private Nets() {}

  /** The network of the paper's section 4.1, of any widths: sigmoid layers, then a linear one. */
  static Sequential sigmoid(Backend b, DType t, boolean withNorm, long seed, long... widths) {
    Init init = Init.xavierUniform(new Generator(seed));
    Sequential.Builder net = Sequential.builder();
    int last = widths.length - 1;
    for (int i = 1; i < last; i++) {
      net.add(
          "dense" + i,
          Dense.builder(b, widths[i - 1], widths[i], init).dtype(t).bias(!withNorm).build());
      if (withNorm) {
        net.add("norm" + i, new Normalize(BatchNorm.builder(b, widths[i]).dtype(t)));
      }
      net.add("sigmoid" + i, Activate.sigmoid());
    }
    net.add(
        "dense" + last, Dense.builder(b, widths[last - 1], widths[last], init).dtype(t).build());
    return net.build();
  }

  static double[] gaussian(int n, long seed) {
    Generator g = new Generator(seed);
    double[] v = new double[n];
    for (int i = 0; i < n; i++) {
      v[i] = g.nextGaussian();
    }
    return v;
  }

  /** A tensor of standard normal values. */
  static Tensor gaussian(Backend b, Shape s, DType t, long seed) {
    return b.empty(s, t).copyFrom(gaussian((int) s.elements(), seed));
  }

  static Tensor labels(Backend b, int classes, int n, long seed) {
    Generator g = new Generator(seed);
    long[] v = new long[n];
    for (int i = 0; i < n; i++) {
      v[i] = g.nextInt(classes);
    }
    return b.empty(Shape.of(n), DType.I64).copyFrom(v);
  }

  /** All values by name, to be compared bit for bit. */
  static Map<String, double[]> values(Map<String, Tensor> state) {
    Map<String, double[]> all = new LinkedHashMap<>();
    state.forEach((name, t) -> all.put(name, t.toDoubles()));
    return all;
  }

  /** A network, its loss and its optimizer, bound to one batch. */
  static final class Step {
    final Tensor x;
    final Tensor labels;
    final BoundSequential net;
    final SoftmaxCrossEntropy loss;
    final Sgd sgd;

    Step(Sequential layers, Sgd sgd, Tensor x, Tensor labels) {
      Backend b = x.backend();
      this.x = x;
      this.labels = labels;
      this.sgd = sgd;
      net = layers.bind(x, Use.TRAIN, b);
      loss = SoftmaxCrossEntropy.bind(net.y(), labels, b);
    }

    void run() {
      net.forward();
      loss.forward();
      net.backward(loss.dlogits(), Write.SET);
      sgd.step();
    }
  }
}
