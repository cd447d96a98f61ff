package org.fusednorm.cli;

import com.google.gson.JsonParseException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * Everything a training experiment measured: the content of {@code metrics.json} and the input of
 * {@link Report}.
 *
 * <p>Accuracies and shares are fractions from 0 to 1, losses are nats per image, times are seconds.
 * Fields are written in the order of the record components and numbers with as many digits as it
 * takes to read the same double back; NaN and the infinities, which JSON has no numbers for, are
 * the strings {@code "NaN"}, {@code "Infinity"} and {@code "-Infinity"}. A null component is left
 * out. Two runs of one experiment with the same seed, backend and thread count differ only in
 * {@code times}.
 *
 * @param schema version of this format, {@value #SCHEMA}
 * @param experiment one of {@link #EXPERIMENTS}
 * @param claim the statement of the paper that the experiment shows, in words
 * @param settings what was run
 * @param environment where it ran
 * @param runs one entry for each trained network
 * @param check outcome of {@code --check}, or null
 * @param times every duration, and nothing else
 */
public record Metrics(
    int schema,
    String experiment,
    String claim,
    Settings settings,
    Environment environment,
    List<Run> runs,
    Check check,
    Times times) {

  /** The version of the format this class reads and writes. */
  public static final int SCHEMA = 1;

  /** Names of the experiments. */
  public static final Set<String> EXPERIMENTS =
      Set.of("figure1", "learning-rate", "initialization", "saturation");

  /**
   * Checks what the report relies on.
   *
   * @throws IllegalArgumentException for another schema, an unknown experiment or a missing part
   */
  public Metrics {
    if (schema != SCHEMA) {
      throw new IllegalArgumentException("metrics schema " + schema + ", expected " + SCHEMA);
    }
    if (experiment == null || !EXPERIMENTS.contains(experiment)) {
      throw new IllegalArgumentException(
          "experiment \"" + experiment + "\", expected one of " + EXPERIMENTS);
    }
    require(claim, "claim");
    require(settings, "settings");
    require(environment, "environment");
    require(times, "times");
    runs = copy(runs);
  }

  /**
   * What was run.
   *
   * @param data the training data in words, e.g. {@code MNIST} or {@code embedded digits}
   * @param trainImages number of training images
   * @param testImages number of held-out images
   * @param steps training steps asked for
   * @param evalEvery steps between two evaluations
   * @param batch images in a batch
   * @param learningRate base learning rate
   * @param sigma standard deviation of the initial weights
   * @param momentum weight of the new value in the running statistics
   * @param seed seed of weights and batches
   * @param network layer widths, e.g. {@code 784-100-100-100-10}
   * @param activation base activation
   */
  public record Settings(
      String data,
      int trainImages,
      int testImages,
      int steps,
      int evalEvery,
      int batch,
      double learningRate,
      double sigma,
      double momentum,
      long seed,
      String network,
      String activation) {}

  /**
   * Where it ran.
   *
   * @param backend the backend, e.g. {@code cpu}
   * @param threads threads it used
   * @param engine what the backend computes with: kernels, libraries and their versions
   * @param java version of the JVM
   * @param os operating system and its version
   * @param machine processor or device
   * @param version version of fusednorm
   */
  public record Environment(
      String backend,
      int threads,
      String engine,
      String java,
      String os,
      String machine,
      String version) {}

  /**
   * One trained network. The series have one entry for each entry of {@code steps}; a run that was
   * cut short has fewer of them.
   *
   * @param name name in legends and tables, unique in the experiment
   * @param batchNorm whether the hidden layers are batch-normalized
   * @param learningRate learning rate of this run
   * @param sigma standard deviation of its initial weights
   * @param activation activation of the hidden layers
   * @param depth number of hidden layers
   * @param diverged whether loss or weights left the finite numbers
   * @param steps steps at which the network was evaluated, ascending
   * @param testAccuracy accuracy on the held-out images; with batch norm, by moving averages
   * @param testAccuracyPopulation accuracy by the population statistics of Algorithm 2, or null
   * @param trainLoss mean loss of the training batches since the evaluation before
   * @param percentiles distribution of one sigmoid's input (Fig. 1b, c), or null
   * @param gradientNorms norm of the weight gradient of each layer, or null
   * @param finalAccuracy the last of {@code testAccuracy}, NaN if there is none
   * @param finalAccuracyPopulation the last of {@code testAccuracyPopulation}, or null
   * @param bestAccuracy the greatest of {@code testAccuracy}, NaN if there is none
   * @param stepsTo90 first evaluated step with an accuracy of at least 90 %, or null
   * @param stepsTo95 first evaluated step with an accuracy of at least 95 %, or null
   */
  public record Run(
      String name,
      boolean batchNorm,
      double learningRate,
      double sigma,
      String activation,
      int depth,
      boolean diverged,
      List<Integer> steps,
      List<Double> testAccuracy,
      List<Double> testAccuracyPopulation,
      List<Double> trainLoss,
      Percentiles percentiles,
      GradientNorms gradientNorms,
      Double finalAccuracy,
      Double finalAccuracyPopulation,
      Double bestAccuracy,
      Integer stepsTo90,
      Integer stepsTo95) {

    /**
     * Checks the lengths of the series.
     *
     * @throws IllegalArgumentException if a series has another length than {@code steps}
     */
    public Run {
      require(name, "name of a run");
      require(activation, "activation of a run");
      steps = copy(steps);
      testAccuracy = series(name, "testAccuracy", testAccuracy, steps.size());
      trainLoss = series(name, "trainLoss", trainLoss, steps.size());
      if (testAccuracyPopulation != null) {
        testAccuracyPopulation =
            series(name, "testAccuracyPopulation", testAccuracyPopulation, steps.size());
      }
      if (percentiles != null) {
        series(name, "percentiles.p15", percentiles.p15, steps.size());
        series(name, "percentiles.p50", percentiles.p50, steps.size());
        series(name, "percentiles.p85", percentiles.p85, steps.size());
      }
    }

    /**
     * A run whose summary (final and best accuracy, steps to 90 and 95 %) follows from its series.
     *
     * @param name name in legends and tables
     * @param batchNorm whether the hidden layers are batch-normalized
     * @param learningRate learning rate of this run
     * @param sigma standard deviation of its initial weights
     * @param activation activation of the hidden layers
     * @param depth number of hidden layers
     * @param diverged whether loss or weights left the finite numbers
     * @param steps steps at which the network was evaluated
     * @param testAccuracy accuracy by moving averages
     * @param testAccuracyPopulation accuracy by population statistics, or null
     * @param trainLoss mean training loss
     * @param percentiles distribution of one sigmoid's input, or null
     * @param gradientNorms norm of the weight gradient of each layer, or null
     */
    public Run(
        String name,
        boolean batchNorm,
        double learningRate,
        double sigma,
        String activation,
        int depth,
        boolean diverged,
        List<Integer> steps,
        List<Double> testAccuracy,
        List<Double> testAccuracyPopulation,
        List<Double> trainLoss,
        Percentiles percentiles,
        GradientNorms gradientNorms) {
      this(
          name,
          batchNorm,
          learningRate,
          sigma,
          activation,
          depth,
          diverged,
          steps,
          testAccuracy,
          testAccuracyPopulation,
          trainLoss,
          percentiles,
          gradientNorms,
          last(testAccuracy),
          testAccuracyPopulation == null ? null : last(testAccuracyPopulation),
          testAccuracy.stream().filter(a -> !a.isNaN()).reduce(Math::max).orElse(Double.NaN),
          stepsTo(0.90, steps, testAccuracy),
          stepsTo(0.95, steps, testAccuracy));
    }

    private static Double last(List<Double> values) {
      return values.isEmpty() ? Double.NaN : values.get(values.size() - 1);
    }

    private static Integer stepsTo(double accuracy, List<Integer> steps, List<Double> reached) {
      for (int i = 0; i < Math.min(steps.size(), reached.size()); i++) {
        if (reached.get(i) >= accuracy) {
          return steps.get(i);
        }
      }
      return null;
    }

    private static List<Double> series(String run, String what, List<Double> values, int size) {
      List<Double> copy = copy(values);
      if (copy.size() != size) {
        throw new IllegalArgumentException(
            "run \""
                + run
                + "\": "
                + copy.size()
                + " values of "
                + what
                + " for "
                + size
                + " steps");
      }
      return copy;
    }
  }

  /**
   * The 15th, 50th and 85th percentile over the test images of the input of one sigmoid.
   *
   * @param unit index of the unit in its layer
   * @param layer the hidden layer, counted from 1
   * @param p15 15th percentile at every evaluated step
   * @param p50 median at every evaluated step
   * @param p85 85th percentile at every evaluated step
   */
  public record Percentiles(
      int unit, int layer, List<Double> p15, List<Double> p50, List<Double> p85) {
    /** Copies the series. */
    public Percentiles {
      p15 = copy(p15);
      p50 = copy(p50);
      p85 = copy(p85);
    }
  }

  /**
   * Euclidean norm of the weight gradient of each layer, from the input to the output.
   *
   * @param layers names of the layers
   * @param values norm for each of them
   */
  public record GradientNorms(List<String> layers, List<Double> values) {
    /**
     * Copies the lists.
     *
     * @throws IllegalArgumentException if their lengths differ
     */
    public GradientNorms {
      layers = copy(layers);
      values = copy(values);
      if (layers.size() != values.size()) {
        throw new IllegalArgumentException(
            values.size() + " gradient norms for " + layers.size() + " layers");
      }
    }
  }

  /**
   * Outcome of {@code --check}.
   *
   * @param passed whether every threshold holds
   * @param thresholds the thresholds
   */
  public record Check(boolean passed, List<Threshold> thresholds) {
    /** Copies the list. */
    public Check {
      thresholds = copy(thresholds);
    }
  }

  /**
   * One threshold of a check.
   *
   * @param what what must hold, in words that name the direction
   * @param value what was measured
   * @param limit what it was compared with
   * @param passed whether it holds
   * @param seed seed of the runs it was measured on
   */
  public record Threshold(String what, double value, double limit, boolean passed, long seed) {}

  /**
   * Every duration.
   *
   * @param startToFirstStepSeconds from the start of the JVM to the end of the first training step
   * @param totalSeconds the whole experiment, over all its sessions
   * @param runs speed of each run
   */
  public record Times(double startToFirstStepSeconds, double totalSeconds, List<Speed> runs) {
    /** Copies the list. */
    public Times {
      runs = copy(runs);
    }
  }

  /**
   * Speed of one run.
   *
   * @param name name of the run
   * @param stepsPerSecond training steps per second, evaluations not counted
   * @param share fraction of a step's time by kind of work, in the order of the report: {@code
   *     gemm}, {@code batchNorm}, {@code activations}, {@code loss}, {@code optimizer}, {@code
   *     other}
   */
  public record Speed(String name, double stepsPerSecond, Map<String, Double> share) {}

  /**
   * The same with the outcome of a check.
   *
   * @param outcome what was checked
   * @return a copy
   */
  public Metrics withCheck(Check outcome) {
    return new Metrics(schema, experiment, claim, settings, environment, runs, outcome, times);
  }

  /**
   * Writes this to a file, whole or not at all.
   *
   * @param file the file, replaced if it exists
   * @throws IOException if it cannot be written
   */
  public void write(Path file) throws IOException {
    WholeFile.write(file, toJson().getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Reads what {@link #write} wrote.
   *
   * @param file the file
   * @return its content
   * @throws IOException if it cannot be read, or holds something else (the message says what)
   */
  public static Metrics read(Path file) throws IOException {
    try {
      return fromJson(Files.readString(file));
    } catch (IllegalArgumentException e) {
      throw new IOException(file + ": " + e.getMessage(), e);
    }
  }

  /**
   * This as text of {@code metrics.json}.
   *
   * @return JSON text ending with a line feed
   */
  public String toJson() {
    return MetricsJson.FILE.toJson(this) + "\n";
  }

  /**
   * Parses the text of {@code metrics.json}.
   *
   * @param json the text
   * @return its content
   * @throws IllegalArgumentException if it is malformed or holds something else
   */
  public static Metrics fromJson(String json) {
    Metrics metrics;
    try {
      metrics = MetricsJson.FILE.fromJson(json, Metrics.class);
    } catch (JsonParseException e) {
      throw new IllegalArgumentException("not a metrics file: " + e.getMessage(), e);
    } catch (RuntimeException e) {
      // Gson wraps what a record's constructor throws.
      if (e.getCause() instanceof IllegalArgumentException cause) {
        throw cause;
      }
      throw e;
    }
    if (metrics == null) {
      throw new IllegalArgumentException("not a metrics file: it is empty");
    }
    return metrics;
  }

  /** JSON for a script element: no NaN, and no character that could end the element. */
  String toPageJson() {
    return MetricsJson.PAGE.toJson(this);
  }

  private static <T> List<T> copy(List<T> list) {
    if (list == null) {
      return List.of();
    }
    if (list.stream().anyMatch(Objects::isNull)) {
      throw new IllegalArgumentException("metrics with a null in a list");
    }
    return List.copyOf(list);
  }

  private static void require(Object part, String what) {
    if (part == null) {
      throw new IllegalArgumentException("metrics without " + what);
    }
  }
}
