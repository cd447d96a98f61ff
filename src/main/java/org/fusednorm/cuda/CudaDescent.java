package org.fusednorm.cuda;

import java.util.List;
import org.fusednorm.Parameter;
import org.fusednorm.Scalar;
import org.fusednorm.Tensor;

/**
 * Gradient descent of one parameter or of a network's, see {@link org.fusednorm.MathOps#sgd}: in
 * one launch as many of them as its arguments hold. Each has blocks of its own, as many as its
 * share of the elements. Every element is computed by itself, so no split changes a bit.
 */
final class CudaDescent {
  /** Parameters of a launch: the constant kMostDescents of {@code math_elements.cu}. */
  static final int MOST = 84;

  private final Launches launches;
  private final Kernel sgd;

  /** Of the launch that is prepared: elements that are worth a block, and blocks so far. */
  private long perBlock;

  private long blocks;

  CudaDescent(Launches launches) {
    this.launches = launches;
    sgd = launches.kernel("sgd");
  }

  void run(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    long n = value.shape().elements();
    if (n > 0) {
      start(1, n, learningRate, momentum, weightDecay);
      add(value, gradient, velocity);
      launch();
    }
  }

  void run(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    int end = 0;
    while (end < parameters.size()) {
      int from = end;
      int count = 0;
      long total = 0;
      for (; end < parameters.size() && count < MOST; end++) {
        long n = elements(parameters, end);
        count += n > 0 ? 1 : 0;
        total += n;
      }
      if (count > 0) {
        start(count, total, learningRate, momentum, weightDecay);
        for (int i = from; i < end; i++) {
          if (elements(parameters, i) > 0) {
            Parameter p = parameters.get(i);
            add(p.value(), p.gradient(), velocities == null ? null : velocities.get(i));
          }
        }
        launch();
      }
    }
  }

  private static long elements(List<Parameter> parameters, int i) {
    return parameters.get(i).value().shape().elements();
  }

  private void start(
      int count, long total, Scalar learningRate, Scalar momentum, Scalar weightDecay) {
    // Each parameter may have a block more than its share: all of them are to find room at a time,
    // or a few would run after all the others.
    long resident = CudaMath.RESIDENT * (long) launches.multiprocessors();
    long shares = Math.max(resident - (count - 1), resident / 2);
    perBlock = Math.max(CudaMath.ELEMENTS * CudaMath.THREADS, CudaMath.tiles(total, shares));
    blocks = 0;
    sgd.arg(CudaMath.address(learningRate)).arg(CudaMath.address(momentum));
    sgd.arg(CudaMath.address(weightDecay)).arg(count);
  }

  private void add(Tensor value, Tensor gradient, Tensor velocity) {
    long n = value.shape().elements();
    sgd.arg(CudaMath.type(value)).arg(CudaMath.address(value)).arg(CudaMath.address(gradient));
    sgd.arg(CudaMath.address(velocity)).arg(n).arg(blocks);
    blocks += CudaMath.tiles(n, perBlock);
  }

  private void launch() {
    sgd.launch(blocks, CudaMath.THREADS, 0);
  }
}
