package org.fusednorm.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.fusednorm.Nonlinearity;

/**
 * The experiments of the {@code train} command: each a claim of Ioffe and Szegedy 2015 (arXiv
 * 1502.03167), the networks that show it, and the thresholds by which it counts as reproduced.
 */
enum Experiment {
  FIGURE1(
      "Batch normalization lets a small sigmoid network train faster and to a higher accuracy, and"
          + " keeps the distribution of a hidden sigmoid's input stable (section 4.1, Figure 1).",
      0.5,
      0.01,
      50_000,
      500) {
    @Override
    List<NetworkSpec> networks(double rate, double sigma) {
      return List.of(
          new NetworkSpec("without batch norm", false, rate, sigma, Nonlinearity.SIGMOID, 3),
          new NetworkSpec("with batch norm", true, rate, sigma, Nonlinearity.SIGMOID, 3));
    }

    @Override
    List<Metrics.Threshold> thresholds(long seed, Map<String, Metrics.Run> runs) {
      Metrics.Run with = runs.get("with batch norm");
      Metrics.Run without = runs.get("without batch norm");
      return List.of(
          atLeast("final accuracy with batch norm", with.finalAccuracy(), 0.97, seed),
          atLeast(
              "final accuracy by population statistics",
              with.finalAccuracyPopulation(),
              0.97,
              seed),
          atLeast(
              "accuracy gained by batch norm after a tenth of the steps",
              after(with, 0.1) - after(without, 0.1),
              0.02,
              seed));
    }
  },

  LEARNING_RATE(
      "Batch normalization bears much higher learning rates: at 30 times the base rate a network"
          + " with it trains, one without it diverges; and it gets ahead with fewer steps (sections"
          + " 3.3 and 4.2.1).",
      0.1,
      0.1,
      3_000,
      150) {
    @Override
    List<NetworkSpec> networks(double rate, double sigma) {
      List<NetworkSpec> networks = new ArrayList<>();
      for (boolean batchNorm : new boolean[] {false, true}) {
        for (int factor : new int[] {1, 5, 30}) {
          String name = (batchNorm ? "with" : "without") + " batch norm, x" + factor;
          networks.add(
              new NetworkSpec(name, batchNorm, rate * factor, sigma, Nonlinearity.RELU, 3));
        }
      }
      return networks;
    }

    @Override
    List<Metrics.Threshold> thresholds(long seed, Map<String, Metrics.Run> runs) {
      Metrics.Run fast = runs.get("with batch norm, x30");
      Metrics.Run fastWithout = runs.get("without batch norm, x30");
      Metrics.Run base = runs.get("without batch norm, x1");
      return List.of(
          atLeast("final accuracy with batch norm at x30", fast.finalAccuracy(), 0.95, seed),
          atMost(
              "final accuracy without batch norm at x30", fastWithout.finalAccuracy(), 0.5, seed),
          atLeast(
              "accuracy that x5 with batch norm is ahead of x1 without after a tenth of the steps",
              after(runs.get("with batch norm, x5"), 0.1) - after(base, 0.1),
              0.01,
              seed));
    }
  },

  INITIALIZATION(
      "Batch normalization makes training care less about the scale of the initial weights, over"
          + " four decades (sections 1 and 3.3: BN((aW)u) = BN(Wu)).",
      0.5,
      0.1,
      3_000,
      250) {
    @Override
    List<NetworkSpec> networks(double rate, double sigma) {
      List<NetworkSpec> networks = new ArrayList<>();
      for (boolean batchNorm : new boolean[] {false, true}) {
        for (double factor : new double[] {0.01, 0.1, 1, 10, 100}) {
          double s = sigma * factor;
          String name =
              String.format(
                  Locale.ROOT, "%s batch norm, sigma %s", batchNorm ? "with" : "without", brief(s));
          networks.add(new NetworkSpec(name, batchNorm, rate, s, Nonlinearity.SIGMOID, 3));
        }
      }
      return networks;
    }

    @Override
    List<Metrics.Threshold> thresholds(long seed, Map<String, Metrics.Run> runs) {
      double lowestWith = 1;
      double lowestWithout = 1;
      double highestWith = 0;
      double highestWithout = 0;
      for (Metrics.Run run : runs.values()) {
        if (run.batchNorm()) {
          lowestWith = Math.min(lowestWith, run.finalAccuracy());
          highestWith = Math.max(highestWith, run.finalAccuracy());
        } else {
          lowestWithout = Math.min(lowestWithout, run.finalAccuracy());
          highestWithout = Math.max(highestWithout, run.finalAccuracy());
        }
      }
      return List.of(
          atLeast("lowest final accuracy with batch norm", lowestWith, 0.65, seed),
          atMost("lowest final accuracy without batch norm", lowestWithout, 0.3, seed),
          atMost(
              "spread of the final accuracies with batch norm, relative to that without,",
              (highestWith - lowestWith) / (highestWithout - lowestWithout),
              0.5,
              seed));
    }
  },

  SATURATION(
      "Batch normalization makes deep networks with saturating nonlinearities trainable: gradients"
          + " that vanish layer by layer without it keep their size with it (sections 1 and 4.2.2).",
      0.1,
      0.1,
      2_000,
      250) {
    @Override
    List<NetworkSpec> networks(double rate, double sigma) {
      List<NetworkSpec> networks = new ArrayList<>();
      for (Nonlinearity f : Nonlinearity.values()) {
        for (int depth : new int[] {3, 6, 9}) {
          for (boolean batchNorm : new boolean[] {false, true}) {
            String name =
                String.format(
                    Locale.ROOT,
                    "%s, %d layers, %s batch norm",
                    f.name().toLowerCase(Locale.ROOT),
                    depth,
                    batchNorm ? "with" : "without");
            networks.add(new NetworkSpec(name, batchNorm, rate, sigma, f, depth));
          }
        }
      }
      return networks;
    }

    @Override
    List<Metrics.Threshold> thresholds(long seed, Map<String, Metrics.Run> runs) {
      Metrics.Run with = runs.get("sigmoid, 9 layers, with batch norm");
      Metrics.Run without = runs.get("sigmoid, 9 layers, without batch norm");
      return List.of(
          atLeast(
              "final accuracy of 9 sigmoid layers with batch norm",
              with.finalAccuracy(),
              0.85,
              seed),
          atMost("final accuracy of 9 sigmoid layers without", without.finalAccuracy(), 0.2, seed),
          atLeast(
              "first layer's gradient norm relative to the last's with batch norm",
              firstToLast(with),
              0.1,
              seed),
          atMost(
              "first layer's gradient norm relative to the last's without",
              firstToLast(without),
              1e-3,
              seed));
    }
  };

  private final String claim;
  private final double learningRate;
  private final double sigma;
  private final int steps;
  private final int evalEvery;

  Experiment(String claim, double learningRate, double sigma, int steps, int evalEvery) {
    this.claim = claim;
    this.learningRate = learningRate;
    this.sigma = sigma;
    this.steps = steps;
    this.evalEvery = evalEvery;
  }

  /** The statement of the paper, in words. */
  String claim() {
    return claim;
  }

  /** Default base learning rate. */
  double learningRate() {
    return learningRate;
  }

  /** Default base deviation of the initial weights. */
  double sigma() {
    return sigma;
  }

  /** Default number of steps. */
  int steps() {
    return steps;
  }

  /** Default number of steps between two evaluations. */
  int evalEvery() {
    return evalEvery;
  }

  /** The networks to train, by base rate and base deviation. */
  abstract List<NetworkSpec> networks(double rate, double sigma);

  /** What must hold of the runs of one seed, which are given by name. */
  abstract List<Metrics.Threshold> thresholds(long seed, Map<String, Metrics.Run> runs);

  /** What must hold of the runs of one seed. */
  List<Metrics.Threshold> thresholds(long seed, List<Metrics.Run> runs) {
    return thresholds(
        seed, runs.stream().collect(Collectors.toMap(Metrics.Run::name, Function.identity())));
  }

  /** As the option takes it and the metrics have it, for example {@code learning-rate}. */
  @Override
  public String toString() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  private static String brief(double v) {
    return Float.toString((float) v);
  }

  /** Accuracy at the first evaluation after this part of the run's steps. */
  private static double after(Metrics.Run run, double part) {
    List<Integer> steps = run.steps();
    int last = steps.get(steps.size() - 1);
    int i = 0;
    while (steps.get(i) < part * last) {
      i++;
    }
    return run.testAccuracy().get(i);
  }

  private static double firstToLast(Metrics.Run run) {
    List<Double> norms = run.gradientNorms().values();
    return norms.get(0) / norms.get(norms.size() - 1);
  }

  private static Metrics.Threshold atLeast(String what, double value, double limit, long seed) {
    return new Metrics.Threshold(what + " is at least", value, limit, value >= limit, seed);
  }

  private static Metrics.Threshold atMost(String what, double value, double limit, long seed) {
    return new Metrics.Threshold(what + " is at most", value, limit, value <= limit, seed);
  }
}
