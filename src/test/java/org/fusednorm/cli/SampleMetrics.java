package org.fusednorm.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.fusednorm.cli.Metrics.Check;
import org.fusednorm.cli.Metrics.Environment;
import org.fusednorm.cli.Metrics.GradientNorms;
import org.fusednorm.cli.Metrics.Percentiles;
import org.fusednorm.cli.Metrics.Run;
import org.fusednorm.cli.Metrics.Settings;
import org.fusednorm.cli.Metrics.Speed;
import org.fusednorm.cli.Metrics.Threshold;
import org.fusednorm.cli.Metrics.Times;

/** Metrics with the shape of real ones, from formulas. */
final class SampleMetrics {
  static final List<String> EXPERIMENTS =
      List.of("figure1", "learning-rate", "initialization", "saturation");

  private SampleMetrics() {}

  static Metrics of(String experiment) {
    return switch (experiment) {
      case "figure1" ->
          metrics(
              experiment,
              "Batch normalization makes the network train faster and to a higher accuracy, and"
                  + " keeps the distribution of a sigmoid's inputs stable (section 4.1, Fig. 1).",
              List.of(curve("with batch norm", true, 0.5), curve("without batch norm", false, 0.5)),
              null);
      case "learning-rate" -> learningRate();
      case "initialization" -> initialization();
      case "saturation" -> saturation();
      default -> throw new IllegalArgumentException(experiment);
    };
  }

  static Metrics metrics(String experiment, String claim, List<Run> runs, Check check) {
    List<Speed> speeds = new ArrayList<>();
    for (Run run : runs) {
      speeds.add(new Speed(run.name(), run.batchNorm() ? 2480.5 : 3391.25, share(run.batchNorm())));
    }
    return new Metrics(
        Metrics.SCHEMA,
        experiment,
        claim,
        new Settings(
            "embedded digits",
            60000,
            10000,
            20000,
            200,
            60,
            0.5,
            0.01,
            0.1,
            1,
            "784-100-100-100-10",
            "sigmoid"),
        new Environment(
            "cpu",
            2,
            "2 threads, plain-Java kernels",
            "17.0.15",
            "Linux 6.1",
            "AMD EPYC 7R13",
            "0.1.0"),
        runs,
        check,
        new Times(1.21, 97.4, speeds));
  }

  private static Map<String, Double> share(boolean batchNorm) {
    Map<String, Double> share = new LinkedHashMap<>();
    share.put("gemm", batchNorm ? 0.58 : 0.74);
    share.put("batchNorm", batchNorm ? 0.19 : 0.0);
    share.put("activations", 0.09);
    share.put("loss", 0.03);
    share.put("optimizer", 0.08);
    share.put("other", batchNorm ? 0.03 : 0.06);
    return share;
  }

  /** A run of 100 evaluations, its accuracy and percentiles by formula with a little noise. */
  static Run curve(String name, boolean batchNorm, double rate) {
    Random random = new Random(name.hashCode());
    List<Integer> steps = new ArrayList<>();
    List<Double> accuracy = new ArrayList<>();
    List<Double> population = new ArrayList<>();
    List<Double> loss = new ArrayList<>();
    List<Double> p15 = new ArrayList<>();
    List<Double> p50 = new ArrayList<>();
    List<Double> p85 = new ArrayList<>();
    double delay = batchNorm ? 0 : 3000 / (2 * rate);
    double scale = (batchNorm ? 350 : 1500) / (2 * rate);
    for (int step = 0; step <= 20000; step += 200) {
      double t = Math.max(0, step - delay) / scale;
      double a = 0.1 + (batchNorm ? 0.875 : 0.86) * t / (t + 0.35) + random.nextGaussian() * 0.002;
      steps.add(step);
      accuracy.add(Math.min(a, 0.99));
      population.add(Math.min(a + 0.003 * random.nextDouble(), 0.99));
      loss.add(2.3 * (1 - a) + 0.02 * random.nextDouble());
      double drift = batchNorm ? 0.3 * Math.sin(step / 4000.0) : 1.8 * Math.tanh(step / 6000.0);
      double width = batchNorm ? 1.1 : 0.1 + 2.4 * Math.tanh(Math.max(0, step - delay) / 5000);
      double center = drift + 0.05 * random.nextGaussian();
      p50.add(center);
      p15.add(center - width * (1 + 0.05 * random.nextGaussian()));
      p85.add(center + width * (1 + 0.05 * random.nextGaussian()));
    }
    return new Run(
        name,
        batchNorm,
        rate,
        0.01,
        "sigmoid",
        3,
        false,
        steps,
        accuracy,
        batchNorm ? population : null,
        loss,
        new Percentiles(0, 3, p15, p50, p85),
        null);
  }

  private static Metrics learningRate() {
    List<Run> runs = new ArrayList<>();
    for (double times : new double[] {1, 5, 30}) {
      for (boolean batchNorm : new boolean[] {true, false}) {
        String name = "×" + (int) times + (batchNorm ? " with BN" : " without BN");
        runs.add(
            !batchNorm && times == 30
                ? diverged(name, 0.5 * times)
                : curve(name, batchNorm, 0.5 * Math.sqrt(times)));
      }
    }
    // The formula is not about rates; name the ones the experiment has.
    for (int i = 0; i < runs.size(); i++) {
      double rate = 0.5 * new double[] {1, 5, 30}[i / 2];
      runs.set(i, withRate(runs.get(i), rate));
    }
    return metrics(
        "learning-rate",
        "Batch normalization permits learning rates that make the plain network diverge.",
        runs,
        new Check(
            false,
            List.of(
                new Threshold("accuracy of ×30 with BN, at least", 0.971, 0.95, true, 1),
                new Threshold("accuracy of ×30 without BN, at most", 0.62, 0.5, false, 2))));
  }

  private static Run withRate(Run r, double rate) {
    return new Run(
        r.name(),
        r.batchNorm(),
        rate,
        r.sigma(),
        r.activation(),
        r.depth(),
        r.diverged(),
        r.steps(),
        r.testAccuracy(),
        r.testAccuracyPopulation(),
        r.trainLoss(),
        r.percentiles(),
        r.gradientNorms());
  }

  /** A run that ended in NaN after three evaluations. */
  static Run diverged(String name, double rate) {
    return new Run(
        name,
        false,
        rate,
        0.01,
        "sigmoid",
        3,
        true,
        List.of(0, 200, 400),
        List.of(0.1, 0.21, Double.NaN),
        null,
        List.of(2.3, 40.5, Double.POSITIVE_INFINITY),
        new Percentiles(
            0,
            3,
            List.of(-1.0, -9.0, Double.NaN),
            List.of(0.0, 1.0, Double.NaN),
            List.of(1.0, 9.0, Double.NaN)),
        null);
  }

  static Run point(
      String name,
      boolean batchNorm,
      double sigma,
      String activation,
      int depth,
      double accuracy,
      GradientNorms norms) {
    return new Run(
        name,
        batchNorm,
        0.5,
        sigma,
        activation,
        depth,
        false,
        List.of(0, 5000),
        List.of(0.1, accuracy),
        null,
        List.of(2.3, 1 - accuracy),
        null,
        norms);
  }

  private static Metrics initialization() {
    List<Run> runs = new ArrayList<>();
    for (int k = 0; k < 9; k++) {
      double sigma = Math.pow(10, -4 + k / 2.0);
      double off = Math.abs(k / 2.0 - 2.8);
      runs.add(point("σ %.2g with BN".formatted(sigma), true, sigma, "sigmoid", 3, 0.97, null));
      runs.add(
          point(
              "σ %.2g without BN".formatted(sigma),
              false,
              sigma,
              "sigmoid",
              3,
              Math.max(0.114, 0.97 - 0.4 * off * off),
              null));
    }
    return metrics(
        "initialization",
        "With batch normalization, training hardly depends on the scale of the initial weights.",
        runs,
        new Check(
            true,
            List.of(new Threshold("spread of accuracy with BN, at most", 0.011, 0.02, true, 1))));
  }

  private static Metrics saturation() {
    List<Run> runs = new ArrayList<>();
    double[] loss = {1.1, 0.6, 0.3};
    List<String> activations = List.of("sigmoid", "tanh", "relu");
    for (int a = 0; a < 3; a++) {
      for (int depth : new int[] {2, 4, 6, 8}) {
        for (boolean batchNorm : new boolean[] {true, false}) {
          List<String> layers = new ArrayList<>();
          List<Double> norms = new ArrayList<>();
          for (int layer = 1; layer <= depth + 1; layer++) {
            layers.add("dense" + layer);
            double decay = batchNorm ? 0.1 : loss[a];
            norms.add(0.5 * Math.pow(10, decay * (layer - depth - 1)));
          }
          double accuracy = batchNorm ? 0.97 - 0.002 * depth : 0.97 - loss[a] * 0.1 * (depth - 2);
          runs.add(
              point(
                  activations.get(a) + ", " + depth + " layers, " + (batchNorm ? "BN" : "no BN"),
                  batchNorm,
                  0.1,
                  activations.get(a),
                  depth,
                  accuracy,
                  new GradientNorms(layers, norms)));
        }
      }
    }
    return metrics(
        "saturation",
        "Batch normalization keeps saturating nonlinearities trainable in deep networks.",
        runs,
        null);
  }
}
