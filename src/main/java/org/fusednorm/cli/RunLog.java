package org.fusednorm.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The series of one run while they grow. */
final class RunLog {
  private final NetworkSpec spec;
  private final List<Integer> steps = new ArrayList<>();
  private final List<Double> accuracy = new ArrayList<>();
  private final List<Double> populationAccuracy = new ArrayList<>();
  private final List<Double> loss = new ArrayList<>();
  private final List<Double> p15 = new ArrayList<>();
  private final List<Double> p50 = new ArrayList<>();
  private final List<Double> p85 = new ArrayList<>();
  private Metrics.GradientNorms gradientNorms;
  private boolean diverged;

  RunLog(NetworkSpec spec) {
    this.spec = spec;
  }

  /** Takes over what an earlier session logged. */
  void restore(Metrics.Run run) {
    steps.addAll(run.steps());
    accuracy.addAll(run.testAccuracy());
    loss.addAll(run.trainLoss());
    p15.addAll(run.percentiles().p15());
    p50.addAll(run.percentiles().p50());
    p85.addAll(run.percentiles().p85());
    if (spec.batchNorm()) {
      populationAccuracy.addAll(run.testAccuracyPopulation());
    }
    gradientNorms = run.gradientNorms();
    diverged = run.diverged();
  }

  void gradientNorms(Metrics.GradientNorms norms) {
    gradientNorms = norms;
  }

  void add(long step, double meanLoss, Evaluator.Result result, Double byPopulation) {
    steps.add(Math.toIntExact(step));
    loss.add(meanLoss);
    accuracy.add(result.accuracy());
    p15.add(result.percentiles()[0]);
    p50.add(result.percentiles()[1]);
    p85.add(result.percentiles()[2]);
    if (spec.batchNorm()) {
      populationAccuracy.add(byPopulation);
    }
    diverged = !Double.isFinite(meanLoss);
  }

  boolean diverged() {
    return diverged;
  }

  double lastAccuracy() {
    return accuracy.isEmpty() ? Double.NaN : accuracy.get(accuracy.size() - 1);
  }

  Metrics.Run toRun() {
    return new Metrics.Run(
        spec.name(),
        spec.batchNorm(),
        spec.learningRate(),
        spec.sigma(),
        spec.activation().name().toLowerCase(Locale.ROOT),
        spec.depth(),
        diverged,
        steps,
        accuracy,
        spec.batchNorm() ? populationAccuracy : null,
        loss,
        new Metrics.Percentiles(Evaluator.UNIT, spec.depth(), p15, p50, p85),
        gradientNorms);
  }
}
