package org.fusednorm.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.stream.Collectors;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The main job: the paper's experiments on real input, with a report. */
@Command(
    name = "train",
    description = {
      "Train the networks of Ioffe and Szegedy 2015 with and without batch norm, and report.",
      "",
      "Without --data the images are handwritten-like digits that the program draws itself. The"
          + " same seed, backend and number of threads give the same metrics to the bit, also when"
          + " the training was killed and resumed."
    },
    footer = {
      "",
      "Examples:",
      "  fusednorm train",
      "  fusednorm train --data mnist --steps 50000 --out out/mnist",
      "  fusednorm train --experiment learning-rate --check"
    })
final class TrainCommand implements Callable<Integer> {
  private static final int BATCH = 60;
  private static final int CHECK_SEEDS = 3;

  @Spec private CommandSpec command;
  @Mixin private CommonOptions common;

  @Option(
      names = "--experiment",
      paramLabel = "NAME",
      defaultValue = "figure1",
      completionCandidates = ExperimentNames.class,
      description =
          "One of ${COMPLETION-CANDIDATES}; ${DEFAULT-VALUE} is section 4.1 of the paper.")
  private String experimentName;

  @Option(
      names = "--data",
      paramLabel = "DIR",
      description =
          "Folder with the four MNIST files (IDX, plain or .gz), instead of the drawn digits.")
  private Path data;

  @Option(
      names = "--steps",
      paramLabel = "N",
      description = "Training steps of each network; the default depends on the experiment.")
  private Integer steps;

  @Option(
      names = "--eval-every",
      paramLabel = "N",
      description = "Steps between two evaluations, which are also when progress is saved.")
  private Integer evalEvery;

  @Option(
      names = "--learning-rate",
      paramLabel = "X",
      description = "Base learning rate; the default depends on the experiment.")
  private Double learningRate;

  @Option(
      names = "--sigma",
      paramLabel = "X",
      description = "Deviation of the initial weights; the default depends on the experiment.")
  private Double sigma;

  @Option(
      names = "--seed",
      paramLabel = "N",
      defaultValue = "1",
      description = "Seed of weights and batches; default ${DEFAULT-VALUE}.")
  private long seed;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description =
          "Folder for report.html, the figure as .svg and .png, metrics.json and the checkpoint;"
              + " default out/EXPERIMENT.")
  private Path out;

  @Option(
      names = "--resume",
      description = "Go on from the checkpoint in the output folder, if there is one.")
  private boolean resume;

  @Option(
      names = "--check",
      description =
          "Repeat with three seeds (N, N + 1, N + 2) and fail with code 1 when one of the claim's"
              + " thresholds does not hold.")
  private boolean check;

  private TrainCommand() {}

  /** Names that {@code --experiment} takes. */
  static final class ExperimentNames extends ArrayList<String> {
    private static final long serialVersionUID = 1;

    ExperimentNames() {
      for (Experiment e : Experiment.values()) {
        add(e.toString());
      }
    }
  }

  @Override
  public Integer call() throws IOException {
    Experiment experiment = experiment();
    int plannedSteps = positive("--steps", steps, experiment.steps());
    int plannedEvalEvery =
        positive("--eval-every", evalEvery, Math.min(plannedSteps, experiment.evalEvery()));
    double rate = positive("--learning-rate", learningRate, experiment.learningRate());
    double deviation = positive("--sigma", sigma, experiment.sigma());
    Path folder = out != null ? out : Path.of("out", experiment.toString());
    // Opening the backend loads libraries while the images are read or drawn.
    CompletableFuture<Backend> opening = CompletableFuture.supplyAsync(common::open);
    TrainTest images = data == null ? Digits.standard() : IdxFiles.read(data);
    try (Backend backend = join(opening)) {
      if (!backend.computes(DType.F32)) {
        throw new UserError(backend + " does not compute in F32");
      }
      Files.createDirectories(folder);
      WholeFile.deleteUnfinished(folder);
      List<Metrics.Threshold> thresholds = new ArrayList<>();
      Metrics first = null;
      for (int i = 0; i < (check ? CHECK_SEEDS : 1); i++) {
        Metrics.Settings settings =
            new Metrics.Settings(
                images.train().name(),
                images.train().count(),
                images.test().count(),
                plannedSteps,
                plannedEvalEvery,
                BATCH,
                rate,
                deviation,
                0.1,
                seed + i,
                layers(experiment, rate, deviation, images.train()),
                activations(experiment, rate, deviation));
        Metrics metrics = train(backend, experiment, settings, images, folder);
        thresholds.addAll(experiment.thresholds(settings.seed(), metrics.runs()));
        first = first == null ? metrics : first;
      }
      boolean passed = thresholds.stream().allMatch(Metrics.Threshold::passed);
      Metrics result = check ? first.withCheck(new Metrics.Check(passed, thresholds)) : first;
      result.write(folder.resolve("metrics.json"));
      for (String note : Report.write(result, folder).notes()) {
        command.commandLine().getErr().println(note);
      }
      print(result, folder);
      if (check && !passed) {
        throw new CheckFailed(
            thresholds.stream()
                .filter(t -> !t.passed())
                .map(TrainCommand::words)
                .collect(Collectors.joining("; ", "the claim was not reproduced: ", "")));
      }
    }
    return Errors.OK;
  }

  private Metrics train(
      Backend backend,
      Experiment experiment,
      Metrics.Settings settings,
      TrainTest images,
      Path folder)
      throws IOException {
    String suffix = settings.seed() == seed ? "" : "-seed" + settings.seed();
    Path checkpoint = folder.resolve("checkpoint" + suffix + ".safetensors");
    try (DeviceData train = new DeviceData(backend, images.train());
        DeviceData test = new DeviceData(backend, images.test());
        TrainSession session =
            new TrainSession(
                backend, experiment, settings, environment(backend), train, test, checkpoint)) {
      if (resume) {
        session.resume();
      }
      String task = "train" + (check ? ", seed " + settings.seed() : "");
      try (Progress progress =
          Progress.start(task, session.totalSteps(), session.totalStepsDone())) {
        return session.run(progress);
      }
    }
  }

  private Experiment experiment() {
    for (Experiment e : Experiment.values()) {
      if (e.toString().equals(experimentName)) {
        return e;
      }
    }
    throw bad("--experiment must be one of " + new ExperimentNames() + ", not " + experimentName);
  }

  private int positive(String option, Integer given, int otherwise) {
    if (given != null && given < 1) {
      throw bad(option + " must be at least 1, not " + given);
    }
    return given == null ? otherwise : given;
  }

  private double positive(String option, Double given, double otherwise) {
    if (given != null && !(given > 0 && Double.isFinite(given))) {
      throw bad(option + " must be positive and finite, not " + given);
    }
    return given == null ? otherwise : given;
  }

  private ParameterException bad(String message) {
    return new ParameterException(command.commandLine(), message);
  }

  private static Backend join(CompletableFuture<Backend> opening) {
    try {
      return opening.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof RuntimeException cause) {
        throw cause;
      }
      throw e;
    }
  }

  private static Metrics.Environment environment(Backend backend) throws IOException {
    Machine machine = Machine.here();
    return new Metrics.Environment(
        backend.device().backend(),
        backend.threads(),
        backend.description(),
        System.getProperty("java.version"),
        machine.os(),
        machine.processor(),
        Main.version());
  }

  private static String layers(Experiment experiment, double rate, double sigma, Dataset images) {
    return experiment.networks(rate, sigma).stream()
        .map(NetworkSpec::depth)
        .collect(Collectors.toCollection(TreeSet::new))
        .stream()
        .map(depth -> NetworkSpec.layers(images.pixels(), depth, images.classes()))
        .collect(Collectors.joining(", "));
  }

  private static String activations(Experiment experiment, double rate, double sigma) {
    return experiment.networks(rate, sigma).stream()
        .map(n -> n.activation().name().toLowerCase(Locale.ROOT))
        .distinct()
        .collect(Collectors.joining(", "));
  }

  private void print(Metrics metrics, Path folder) {
    PrintWriter to = command.commandLine().getOut();
    if (common.json()) {
      to.print(metrics.toJson());
      to.flush();
      return;
    }
    to.println(metrics.claim().replaceAll("(.{1,99})(\\s+|$)", "$1" + System.lineSeparator()));
    int width = metrics.runs().stream().mapToInt(r -> r.name().length()).max().orElse(0);
    for (int i = 0; i < metrics.runs().size(); i++) {
      Metrics.Run run = metrics.runs().get(i);
      to.printf(
          Locale.ROOT,
          "%-" + width + "s  %5.2f %%%s%s%s, %.0f steps/s%n",
          run.name(),
          100 * run.finalAccuracy(),
          run.batchNorm()
              ? String.format(
                  Locale.ROOT,
                  " (by population statistics %.2f %%)",
                  100 * run.finalAccuracyPopulation())
              : "",
          run.stepsTo90() == null ? "" : ", 90 % at step " + run.stepsTo90(),
          run.stepsTo95() == null ? "" : ", 95 % at step " + run.stepsTo95(),
          metrics.times().runs().get(i).stepsPerSecond());
    }
    if (metrics.check() != null) {
      to.println();
      for (Metrics.Threshold t : metrics.check().thresholds()) {
        to.printf("%s  seed %d: %s%n", t.passed() ? "ok  " : "FAIL", t.seed(), words(t));
      }
    }
    to.println();
    to.println("Report: " + folder.resolve("report.html"));
    to.flush();
  }

  private static String words(Metrics.Threshold t) {
    return String.format(Locale.ROOT, "%s %s (measured %.4g)", t.what(), t.limit(), t.value());
  }
}
