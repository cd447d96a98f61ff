package org.fusednorm.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.BatchNorm;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.nn.Activate;
import org.fusednorm.nn.BoundSequential;
import org.fusednorm.nn.Dense;
import org.fusednorm.nn.Generator;
import org.fusednorm.nn.Init;
import org.fusednorm.nn.Normalize;
import org.fusednorm.nn.Sequential;
import org.fusednorm.nn.Sgd;
import org.fusednorm.nn.SoftmaxCrossEntropy;
import org.fusednorm.nn.Use;

/**
 * One network in training. Weights follow from the seed, and the batch of step s from the seed and
 * s alone, so networks of one seed start alike and see the same batches, and a resumed training
 * sees those that it would have seen.
 */
final class Trainer implements AutoCloseable {
  private static final long WEIGHTS = 0;
  private static final long BATCHES = 1;
  private static final long POPULATION = 2;

  /** Batches that the population statistics are taken over. */
  private static final int POPULATION_BATCHES = 100;

  /** One step in so many is timed launch by launch. */
  private static final int TIMED = 50;

  private final Backend backend;
  private final NetworkSpec spec;
  private final DeviceData data;
  private final Sequential net;
  private final Evaluator evaluator;
  private final Sequential population;
  private final Evaluator populationEvaluator;
  private final Tensor rows;
  private final Tensor x;
  private final Tensor labels;
  private final BoundSequential bound;
  private final BoundSequential collecting;
  private final SoftmaxCrossEntropy loss;
  private final Tensor lossSum;
  private final Sgd sgd;
  private final Generator random;
  private final long[] picked;
  private final Map<String, Long> nanosByKind = new LinkedHashMap<>();
  private Recording step;
  private long[] nanos;
  private long stepsDone;
  private long stepsHere;
  private long stepsTimed;
  private long trainNanos;

  Trainer(
      Backend backend, NetworkSpec spec, DeviceData train, DeviceData test, int batch, long seed) {
    this.backend = backend;
    this.spec = spec;
    data = train;
    random = new Generator(seed);
    net = build(train);
    rows = backend.zeros(Shape.of(batch), DType.I64);
    x = backend.zeros(Shape.nc(batch, train.pixels()), DType.F32);
    labels = backend.zeros(Shape.of(batch), DType.I64);
    picked = new long[batch];
    bound = net.bind(x, Use.TRAIN, backend);
    loss = SoftmaxCrossEntropy.bind(bound.y(), labels, backend);
    lossSum = backend.zeros(Shape.of(1, 1), DType.F64);
    sgd = Sgd.builder(backend, net.parameters()).learningRate(spec.learningRate()).build();
    evaluator = new Evaluator(backend, net, test);
    population = spec.batchNorm() ? net.population(backend) : null;
    collecting = spec.batchNorm() ? population.bind(x, Use.TRAIN, backend) : null;
    populationEvaluator = spec.batchNorm() ? new Evaluator(backend, population, test) : null;
  }

  private Sequential build(DeviceData train) {
    Init weights = Init.gaussian(spec.sigma(), random.stream(WEIGHTS));
    Sequential.Builder layers = Sequential.builder();
    int in = train.pixels();
    for (int i = 1; i <= spec.depth(); i++) {
      // A bias before batch norm would be taken out again with the mean (section 3.2).
      Dense dense =
          Dense.builder(backend, in, NetworkSpec.WIDTH, weights).bias(!spec.batchNorm()).build();
      layers.add("dense" + i, dense);
      if (spec.batchNorm()) {
        layers.add("norm" + i, new Normalize(BatchNorm.builder(backend, NetworkSpec.WIDTH)));
      }
      layers.add("activation" + i, new Activate(spec.activation()));
      in = NetworkSpec.WIDTH;
    }
    layers.add(
        "dense" + (spec.depth() + 1), Dense.builder(backend, in, train.classes(), weights).build());
    return layers.build();
  }

  NetworkSpec spec() {
    return spec;
  }

  long stepsDone() {
    return stepsDone;
  }

  /** Name of the child whose output the last hidden layer's nonlinearity takes in. */
  private String lastPreActivation() {
    return (spec.batchNorm() ? "norm" : "dense") + spec.depth();
  }

  /** Everything that training changes, for a checkpoint. */
  Map<String, Tensor> state() {
    Map<String, Tensor> state = new LinkedHashMap<>(net.state());
    state.putAll(sgd.state());
    return state;
  }

  /** Goes on after {@code steps} steps whose state was put into {@link #state}. */
  void resumeAt(long steps) {
    stepsDone = steps;
  }

  /** Trains {@code steps} more steps and returns the mean of their losses. */
  double train(int steps) {
    lossSum.fillZero();
    long start = System.nanoTime();
    for (int i = 0; i < steps; i++) {
      pick(random.stream(BATCHES), stepsDone);
      if (step == null) {
        step = backend.record(this::launchStep);
        nanos = new long[step.launches().size()];
      } else if (stepsDone % TIMED == 0) {
        step.replay(nanos);
        stepsTimed++;
      } else {
        step.replay();
      }
      stepsDone++;
      stepsHere++;
    }
    backend.synchronize();
    trainNanos += System.nanoTime() - start;
    return lossSum.toDoubles()[0] / steps;
  }

  private void launchStep() {
    data.gather(rows, x, labels);
    bound.forward();
    loss.forward();
    // The loss of each step is added up on the device, so that no step waits for the host.
    backend.math().addBias(lossSum, loss.loss(), lossSum);
    bound.backward(loss.dlogits(), Write.SET);
    sgd.step();
  }

  private void pick(Generator stream, long number) {
    stream.position(number * picked.length);
    for (int i = 0; i < picked.length; i++) {
      picked[i] = stream.nextInt(data.count());
    }
    rows.copyFrom(picked);
  }

  /** Fraction of test images classified right, by moving averages where there is batch norm. */
  Evaluator.Result evaluate() {
    return evaluator.run(lastPreActivation());
  }

  /**
   * The same by the population statistics of Alg. 2, taken over training batches of their own; null
   * without batch norm.
   */
  Double evaluateByPopulation() {
    if (population == null) {
      return null;
    }
    population.resetStatistics();
    Generator stream = random.stream(POPULATION);
    for (int i = 0; i < POPULATION_BATCHES; i++) {
      pick(stream, stepsDone * POPULATION_BATCHES + i);
      data.gather(rows, x, labels);
      collecting.forward();
    }
    return populationEvaluator.run(null).accuracy();
  }

  /** Euclidean norms of the weight gradients of the last step, layer by layer from the input. */
  Metrics.GradientNorms gradientNorms() {
    List<String> names = new ArrayList<>();
    List<Double> norms = new ArrayList<>();
    try (Tensor squares = backend.empty(Shape.of(1), DType.F64)) {
      net.parameters().stream()
          .filter(p -> p.name().startsWith("dense") && p.name().endsWith("weight"))
          .forEach(
              p -> {
                backend.math().squaredNorm(p.gradient(), squares, Write.SET);
                names.add(p.name().substring(0, p.name().indexOf('.')));
                norms.add(Math.sqrt(squares.toDoubles()[0]));
              });
    }
    return new Metrics.GradientNorms(names, norms);
  }

  /** Steps per second of {@link #train}, and the share of each kind of work in a step. */
  Metrics.Speed speed() {
    Map<String, Double> share = new LinkedHashMap<>();
    for (String kind : List.of("gemm", "batchNorm", "activations", "loss", "optimizer", "other")) {
      nanosByKind.put(kind, 0L);
    }
    if (stepsTimed > 0) {
      List<String> launches = step.launches();
      for (int i = 0; i < nanos.length; i++) {
        nanosByKind.merge(kind(launches.get(i)), nanos[i], Long::sum);
      }
      double total = Arrays.stream(nanos).sum();
      nanosByKind.forEach((kind, n) -> share.put(kind, n / total));
    }
    double seconds = trainNanos / 1e9;
    return new Metrics.Speed(spec.name(), seconds > 0 ? stepsHere / seconds : 0, share);
  }

  private static String kind(String launch) {
    if (launch.startsWith("norm.")) {
      return "batchNorm";
    }
    return switch (launch) {
      case "matmul" -> "gemm";
      case "activation", "activation.gradient" -> "activations";
      case "loss" -> "loss";
      case "sgd" -> "optimizer";
      default -> "other";
    };
  }

  @Override
  public void close() {
    if (step != null) {
      step.close();
    }
    evaluator.close();
    if (population != null) {
      populationEvaluator.close();
      collecting.close();
      population.close();
    }
    sgd.close();
    loss.close();
    bound.close();
    net.close();
    for (Tensor t : List.of(rows, x, labels, lossSum)) {
      t.close();
    }
  }
}
