package org.fusednorm.cli;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.Tensor;
import org.fusednorm.nn.Checkpoint;
import org.fusednorm.nn.Safetensors;
import org.fusednorm.nn.SafetensorsReader;

/**
 * One experiment with one seed: its networks trained side by side, evaluated at the same steps, and
 * all of it saved after every evaluation, in one file written whole or not at all. A session that
 * was killed goes on from there and ends with the same metrics.
 */
final class TrainSession implements AutoCloseable {
  private static final String METRICS = "metrics";

  private final Experiment experiment;
  private final Metrics.Settings settings;
  private final Metrics.Environment environment;
  private final Path checkpoint;
  private final List<Trainer> trainers = new ArrayList<>();
  private final List<RunLog> logs = new ArrayList<>();
  private final long started = System.nanoTime();
  private long stepsDone;
  private Metrics.Times timesBefore;
  private double startToFirstStep = Double.NaN;

  TrainSession(
      Backend backend,
      Experiment experiment,
      Metrics.Settings settings,
      Metrics.Environment environment,
      DeviceData train,
      DeviceData test,
      Path checkpoint) {
    this.experiment = experiment;
    this.settings = settings;
    this.environment = environment;
    this.checkpoint = checkpoint;
    for (NetworkSpec spec : experiment.networks(settings.learningRate(), settings.sigma())) {
      trainers.add(new Trainer(backend, spec, train, test, settings.batch(), settings.seed()));
      logs.add(new RunLog(spec));
    }
  }

  /** Training steps of all networks together. */
  long totalSteps() {
    return (long) settings.steps() * trainers.size();
  }

  /** Those of them that an earlier session did. */
  long totalStepsDone() {
    return stepsDone * trainers.size();
  }

  /**
   * Goes on where an earlier session was saved; without a saved one, from the beginning. The number
   * of steps may differ, as long as the evaluations done are those of a training of that length.
   *
   * @throws UserError when the saved session had other settings, naming the first that differs
   * @throws IOException when the file is damaged or cannot be read
   */
  void resume() throws IOException {
    if (!Files.exists(checkpoint)) {
      return;
    }
    Metrics saved;
    try (SafetensorsReader reader = Safetensors.read(checkpoint)) {
      String text = reader.metadata().get(METRICS);
      if (text == null) {
        throw new UserError(checkpoint + " is not a checkpoint of 'fusednorm train'");
      }
      saved = Metrics.fromJson(text);
    } catch (IllegalArgumentException e) {
      throw new UserError(checkpoint + ": " + e.getMessage(), e);
    }
    same("experiment", saved.experiment(), experiment.toString());
    stepsDone = saved.runs().stream().mapToInt(r -> lastOf(r.steps())).max().orElse(0);
    boolean onTheWay = stepsDone < settings.steps() && stepsDone % settings.evalEvery() == 0;
    if (stepsDone != settings.steps() && !onTheWay) {
      same("steps", saved.settings().steps(), settings.steps());
    }
    sameButForSteps(saved.settings(), settings);
    same("backend", saved.environment().backend(), environment.backend());
    same("threads", saved.environment().threads(), environment.threads());
    Checkpoint.read(checkpoint, state());
    for (int i = 0; i < trainers.size(); i++) {
      Metrics.Run run = saved.runs().get(i);
      logs.get(i).restore(run);
      trainers.get(i).resumeAt(lastOf(run.steps()));
    }
    timesBefore = saved.times();
    startToFirstStep = saved.times().startToFirstStepSeconds();
  }

  private static int lastOf(List<Integer> steps) {
    return steps.isEmpty() ? 0 : steps.get(steps.size() - 1);
  }

  private void sameButForSteps(Metrics.Settings was, Metrics.Settings is) {
    for (var part : Metrics.Settings.class.getRecordComponents()) {
      if (part.getName().equals("steps")) {
        continue;
      }
      try {
        same(part.getName(), part.getAccessor().invoke(was), part.getAccessor().invoke(is));
      } catch (ReflectiveOperationException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  private void same(String what, Object was, Object is) {
    if (!is.equals(was)) {
      throw new UserError(
          checkpoint + " was made with " + what + " " + was + ", not " + is + ": cannot resume it");
    }
  }

  private Map<String, Tensor> state() {
    Map<String, Tensor> all = new LinkedHashMap<>();
    for (int i = 0; i < trainers.size(); i++) {
      String prefix = "run" + i + ".";
      trainers.get(i).state().forEach((name, t) -> all.put(prefix + name, t));
    }
    return all;
  }

  /** Trains what is left to train. */
  Metrics run(Progress progress) throws IOException {
    while (stepsDone < settings.steps()) {
      int piece = (int) Math.min(settings.evalEvery(), settings.steps() - stepsDone);
      for (int i = 0; i < trainers.size(); i++) {
        if (!logs.get(i).diverged()) {
          advance(trainers.get(i), logs.get(i), piece);
        }
        progress.advance(piece);
      }
      stepsDone += piece;
      progress.note(summary());
      Checkpoint.write(checkpoint, state(), Map.of(METRICS, metrics(null).toJson()));
    }
    return metrics(null);
  }

  private void advance(Trainer trainer, RunLog log, int steps) {
    double sum = 0;
    int left = steps;
    if (trainer.stepsDone() == 0) {
      sum += trainer.train(1);
      left--;
      if (Double.isNaN(startToFirstStep)) {
        long jvmStart = ManagementFactory.getRuntimeMXBean().getStartTime();
        startToFirstStep = (System.currentTimeMillis() - jvmStart) / 1e3;
      }
      log.gradientNorms(trainer.gradientNorms());
    }
    if (left > 0) {
      sum += left * trainer.train(left);
    }
    double loss = sum / steps;
    log.add(trainer.stepsDone(), loss, trainer.evaluate(), trainer.evaluateByPopulation());
  }

  private String summary() {
    if (trainers.size() > 2) {
      return "step " + stepsDone;
    }
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < trainers.size(); i++) {
      // Short, because it stands behind a bar: "34.5 % without, 96.7 % with".
      text.append(i == 0 ? "" : ", ")
          .append(String.format(Locale.ROOT, "%.1f %% ", 100 * logs.get(i).lastAccuracy()))
          .append(trainers.get(i).spec().batchNorm() ? "with" : "without");
    }
    return text.toString();
  }

  /** What was measured so far. */
  Metrics metrics(Metrics.Check check) {
    double seconds = (System.nanoTime() - started) / 1e9;
    List<Metrics.Speed> speeds = trainers.stream().map(Trainer::speed).toList();
    if (timesBefore != null) {
      seconds += timesBefore.totalSeconds();
      // A session that had nothing left to train measured nothing.
      boolean trained = speeds.stream().anyMatch(s -> s.stepsPerSecond() > 0);
      speeds = trained ? speeds : timesBefore.runs();
    }
    return new Metrics(
        Metrics.SCHEMA,
        experiment.toString(),
        experiment.claim(),
        settings,
        environment,
        logs.stream().map(RunLog::toRun).toList(),
        check,
        new Metrics.Times(startToFirstStep, seconds, speeds));
  }

  @Override
  public void close() {
    trainers.forEach(Trainer::close);
  }
}
