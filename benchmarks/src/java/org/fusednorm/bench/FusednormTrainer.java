package org.fusednorm.bench;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.MathOps;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.nn.Activate;
import org.fusednorm.nn.BoundSequential;
import org.fusednorm.nn.Dense;
import org.fusednorm.nn.Normalize;
import org.fusednorm.nn.Sequential;
import org.fusednorm.nn.Sgd;
import org.fusednorm.nn.SoftmaxCrossEntropy;
import org.fusednorm.nn.Use;

/** {@link Figure1} as one recorded step, replayed for every batch after the upload of its rows. */
final class FusednormTrainer implements Trainer {
  private final Backend backend;
  private final Sequential net;
  private final Tensor images;
  private final Tensor classes;
  private final Tensor rows;
  private final Tensor x;
  private final Tensor labels;
  private final BoundSequential bound;
  private final SoftmaxCrossEntropy loss;
  private final Sgd sgd;
  private Recording recording;

  /** Takes the data into the backend's memory. */
  FusednormTrainer(String backendName, Figure1 data) {
    backend = Backends.open(backendName);
    try {
      int pixels = Figure1.WIDTHS[0];
      images =
          backend
              .empty(Shape.nc(Figure1.IMAGES, pixels), DType.U8)
              .copyFrom(ByteBuffer.wrap(data.images()));
      long[] wide = new long[Figure1.IMAGES];
      Arrays.setAll(wide, i -> data.labels()[i]);
      classes = backend.empty(Shape.of(Figure1.IMAGES), DType.I64).copyFrom(wide);
      rows = backend.empty(Shape.of(Figure1.BATCH), DType.I64);
      x = backend.empty(Shape.nc(Figure1.BATCH, pixels), DType.F32);
      labels = backend.empty(Shape.of(Figure1.BATCH), DType.I64);
      net = network(backend, data);
      bound = net.bind(x, Use.TRAIN, backend);
      loss = SoftmaxCrossEntropy.bind(bound.y(), labels, backend);
      sgd = Sgd.builder(backend, net.parameters()).learningRate(Figure1.LEARNING_RATE).build();
    } catch (RuntimeException | Error e) {
      backend.close();
      throw e;
    }
  }

  private static Sequential network(Backend backend, Figure1 data) {
    Sequential.Builder net = Sequential.builder();
    int last = Figure1.LAYERS;
    for (int l = 1; l <= last; l++) {
      float[] weight = data.weights()[l - 1];
      net.add(
          "dense" + l,
          Dense.builder(backend, Figure1.WIDTHS[l - 1], Figure1.WIDTHS[l], t -> t.copyFrom(weight))
              .bias(l == last)
              .build());
      if (l < last) {
        BatchNorm.Builder norm =
            BatchNorm.builder(backend, Figure1.WIDTHS[l])
                .momentum(Figure1.MOMENTUM)
                .eps(Figure1.EPS);
        net.add("norm" + l, new Normalize(norm));
        net.add("sigmoid" + l, Activate.sigmoid());
      }
    }
    return net.build();
  }

  @Override
  public void step(long[] batch) {
    rows.copyFrom(batch);
    if (recording == null) {
      recording = backend.record(this::launch);
    } else {
      recording.replay();
    }
  }

  private void launch() {
    MathOps math = backend.math();
    math.gather(images, rows, 1, x);
    math.gather(classes, rows, 1, labels);
    bound.forward();
    loss.forward();
    bound.backward(loss.dlogits(), Write.SET);
    sgd.step();
  }

  @Override
  public double loss() {
    return loss.loss().toDoubles()[0];
  }

  @Override
  public float[] running() {
    Map<String, Tensor> state = net.state();
    String last = "norm" + (Figure1.LAYERS - 1);
    float[] mean = state.get(last + ".running_mean").toFloats();
    float[] variance = state.get(last + ".running_var").toFloats();
    float[] both = Arrays.copyOf(mean, mean.length + variance.length);
    System.arraycopy(variance, 0, both, mean.length, variance.length);
    return both;
  }

  @Override
  public String description() {
    return "fusednorm " + backend.device() + ": " + backend.description();
  }

  @Override
  public void close() {
    backend.close();
  }
}
