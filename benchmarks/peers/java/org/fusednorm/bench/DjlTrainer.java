package org.fusednorm.bench;

import ai.djl.engine.Engine;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.nn.Activation;
import ai.djl.nn.core.Embedding;
import ai.djl.nn.core.Linear;
import ai.djl.nn.norm.BatchNorm;
import ai.djl.pytorch.jni.JniUtils;
import ai.djl.training.GradientCollector;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * {@link Figure1} in PyTorch, through DJL's arrays: automatic differentiation, and one scope of
 * native memory per step.
 *
 * <p>DJL's {@code Model} and {@code Trainer} compute the same with the same natives; their blocks
 * and parameter stores cost Java time on top, so the peer goes without. TorchScript would need a
 * script made by Python.
 */
final class DjlTrainer implements Trainer {
  private static final int HIDDEN = Figure1.LAYERS - 1;

  private final Engine engine = Engine.getEngine("PyTorch");
  private final NDManager memory = engine.newBaseManager();
  private final NDArray images;
  private final byte[] classes;
  private final NDArray[] weight = new NDArray[Figure1.LAYERS];
  private final NDArray[] gamma = new NDArray[HIDDEN];
  private final NDArray[] beta = new NDArray[HIDDEN];
  private final NDArray[] mean = new NDArray[HIDDEN];
  private final NDArray[] variance = new NDArray[HIDDEN];
  private final NDArray bias;
  private final List<NDArray> parameters = new ArrayList<>();
  private final long[] picked = new long[Figure1.BATCH];

  /** All arrays of the last step. */
  private NDManager scope = memory.newSubManager();

  private NDArray loss;

  DjlTrainer(Figure1 data) {
    FloatBuffer pixels = FloatBuffer.allocate(data.images().length);
    for (byte pixel : data.images()) {
      pixels.put(pixel);
    }
    images = memory.create(pixels.flip(), new Shape(Figure1.IMAGES, Figure1.WIDTHS[0]));
    classes = data.labels();
    for (int l = 0; l < Figure1.LAYERS; l++) {
      int out = Figure1.WIDTHS[l + 1];
      weight[l] = parameter(memory.create(data.weights()[l], new Shape(out, Figure1.WIDTHS[l])));
      if (l < HIDDEN) {
        gamma[l] = parameter(memory.ones(new Shape(out)));
        beta[l] = parameter(memory.zeros(new Shape(out)));
        mean[l] = memory.zeros(new Shape(out));
        variance[l] = memory.ones(new Shape(out));
      }
    }
    bias = parameter(memory.zeros(new Shape(Figure1.WIDTHS[Figure1.LAYERS])));
  }

  private NDArray parameter(NDArray p) {
    p.setRequiresGradient(true);
    parameters.add(p);
    return p;
  }

  @Override
  public void step(long[] rows) {
    scope.close();
    scope = memory.newSubManager();
    for (int i = 0; i < rows.length; i++) {
      picked[i] = classes[(int) rows[i]];
    }
    // Rows by embedding take half the time of rows by index.
    NDArray x = Embedding.embedding(scope.create(rows), images, SparseFormat.DENSE).get(0);
    NDArray labels = scope.create(picked, new Shape(rows.length, 1));
    try (GradientCollector gradients = engine.newGradientCollector()) {
      loss = forward(x).logSoftmax(1).gather(labels, 1).mean().neg();
      gradients.backward(loss);
    }
    for (NDArray p : parameters) {
      try (NDArray gradient = p.getGradient()) {
        // Subtracts the gradient and zeroes it, in place.
        p.getNDArrayInternal()
            .sgdUpdate(
                new NDList(p, gradient), new NDList(p), Figure1.LEARNING_RATE, 0, 1, -1, 0, true);
      }
    }
  }

  private NDArray forward(NDArray x) {
    NDArray h = x;
    for (int l = 0; l < HIDDEN; l++) {
      NDArray z = Linear.linear(h, weight[l]).singletonOrThrow();
      // DJL's momentum is the weight of the old value; axis -1 spares two transpositions.
      NDArray y =
          BatchNorm.batchNorm(
                  z,
                  mean[l],
                  variance[l],
                  gamma[l],
                  beta[l],
                  -1,
                  1 - Figure1.MOMENTUM,
                  Figure1.EPS,
                  true)
              .singletonOrThrow();
      h = Activation.sigmoid(y);
    }
    return Linear.linear(h, weight[HIDDEN], bias).singletonOrThrow();
  }

  @Override
  public double loss() {
    return loss.getFloat();
  }

  @Override
  public float[] running() {
    int last = HIDDEN - 1;
    return mean[last].concat(variance[last]).toFloatArray();
  }

  @Override
  public String description() {
    return "PyTorch "
        + engine.getVersion()
        + " through DJL "
        + Engine.getDjlVersion()
        + ", threads "
        + JniUtils.getNumThreads();
  }

  @Override
  public void close() {
    memory.close();
  }
}
