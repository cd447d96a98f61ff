package org.fusednorm.bench;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Measures the training of {@link Figure1} here, in PyTorch and in NumPy, side by side.
 *
 * <p>Each library has a process of its own, which lives through the whole run; in a round they are
 * measured one after another, in another order each time, while the others sleep. Before that, all
 * make the same steps from the same weights, and must have the same losses and running statistics.
 */
final class TrainingPeers {
  private static final String OURS = "fusednorm";
  private static final String TORCH = "pytorch";
  private static final String NUMPY = "numpy";
  private static final int TRACED = 50;

  /**
   * Rounding leaves differences near 1e-6; the biased variance in place of the unbiased one would
   * make 1e-2.
   */
  private static final double TOLERANCE = 1e-4;

  /** How far a library is from ours after the traced steps. */
  record Distance(double loss, double running) {}

  private final Map<String, PeerProcess> peers = new LinkedHashMap<>();
  private final Map<String, List<TrainingPeer.Measurement>> measured = new LinkedHashMap<>();
  private final Map<String, Distance> distances = new LinkedHashMap<>();
  private final List<String> skipped = new ArrayList<>();
  private final List<String> load = new ArrayList<>();
  private final List<Cores> cores = new ArrayList<>();

  private TrainingPeers() {}

  /**
   * Runs.
   *
   * @param args work folder, folder of results, rounds, seconds of a measurement, seconds of
   *     warm-up, backend
   */
  public static void main(String[] args) throws IOException {
    if (args.length != 6) {
      throw new IllegalArgumentException(
          "want WORK RESULTS ROUNDS SECONDS WARMUP BACKEND, not " + Arrays.toString(args));
    }
    TrainingPeers run = new TrainingPeers();
    try {
      run.run(
          Path.of(args[0]),
          Path.of(args[1]),
          Integer.parseInt(args[2]),
          Double.parseDouble(args[3]),
          Double.parseDouble(args[4]),
          args[5]);
    } finally {
      run.peers.values().forEach(PeerProcess::close);
    }
  }

  private void run(
      Path work, Path results, int rounds, double seconds, double warmup, String backend)
      throws IOException {
    Path data = work.resolve("data");
    Figure1.generate().write(data, TRACED);
    start(work, data, backend);
    compare();
    for (PeerProcess peer : peers.values()) {
      peer.measure(warmup);
    }
    List<String> order = new ArrayList<>(peers.keySet());
    for (int round = 0; round < rounds; round++) {
      load.add(Files.readString(Path.of("/proc/loadavg")).split(" ")[0]);
      Cores before = Cores.measure();
      for (String name : order) {
        PeerProcess peer = peers.get(name);
        peer.measure(0.2); // wakes its threads and caches
        TrainingPeer.Measurement m = peer.measure(seconds);
        if (!(m.loss() < 1)) {
          throw new IllegalStateException(name + " does not learn: loss " + m.loss());
        }
        measured.computeIfAbsent(name, n -> new ArrayList<>()).add(m);
      }
      Cores after = Cores.measure();
      cores.add(before.gain() < after.gain() ? before : after);
      order.add(order.remove(0));
    }
    print();
    Path file = write(results, seconds, warmup);
    System.out.println("written: " + file);
  }

  private void start(Path work, Path data, String backend) throws IOException {
    peers.put(OURS, PeerProcess.java(work, OURS, data, backend));
    int cores = Runtime.getRuntime().availableProcessors();
    for (int threads : cores == 1 ? new int[] {1} : new int[] {1, cores}) {
      String name = TORCH + "-" + threads;
      peers.put(
          name,
          PeerProcess.java(
              work,
              name,
              data,
              "djl",
              "-Dai.djl.offline=true",
              "-DOPT_OUT_TRACKING=true",
              "-DDJL_CACHE_DIR=" + work.resolve("djl"),
              "-Dai.djl.pytorch.num_interop_threads=1",
              "-Dai.djl.pytorch.num_threads=" + threads));
    }
    String python = PeerProcess.pythonWithNumpy();
    if (python != null) {
      peers.put(NUMPY, PeerProcess.numpy(work, NUMPY, data, python));
    } else {
      String why = NUMPY + ": no python3 that has it: install python3-numpy and libopenblas0";
      skipped.add(why);
      System.out.println("skipped: " + why);
    }
  }

  /** Whether all compute the same training. */
  private void compare() throws IOException {
    TrainingPeer.Trace ours = peers.get(OURS).trace(TRACED);
    for (Map.Entry<String, PeerProcess> e : peers.entrySet()) {
      if (e.getKey().equals(OURS)) {
        continue;
      }
      TrainingPeer.Trace theirs = e.getValue().trace(TRACED);
      double loss = 0;
      for (int i = 0; i < TRACED; i++) {
        loss = worse(loss, Math.abs(theirs.losses()[i] - ours.losses()[i]));
      }
      double running = 0;
      double largest = 0;
      for (int i = 0; i < ours.running().length; i++) {
        running = worse(running, Math.abs(theirs.running()[i] - ours.running()[i]));
        largest = worse(largest, Math.abs(ours.running()[i]));
      }
      Distance d = new Distance(loss, running / largest);
      if (!(d.loss() <= TOLERANCE && d.running() <= TOLERANCE)) {
        throw new IllegalStateException(
            e.getKey() + " trains another network than ours: " + d + " in " + TRACED + " steps");
      }
      distances.put(e.getKey(), d);
    }
  }

  /** The larger; NaN wins. */
  private static double worse(double a, double b) {
    return Math.max(a, b);
  }

  /** The median over the rounds in which two threads had a core each; NaN where there are none. */
  private double onTwoCores(double[] byRound) {
    double[] v =
        IntStream.range(0, byRound.length)
            .filter(i -> cores.get(i).areTwo())
            .mapToDouble(i -> byRound[i])
            .toArray();
    return v.length == 0 ? Double.NaN : median(v);
  }

  private double[] rates(String name) {
    return measured.get(name).stream().mapToDouble(TrainingPeer.Measurement::rate).toArray();
  }

  /** Ours over theirs, round by round. */
  private double[] ratios(String name) {
    double[] ours = rates(OURS);
    double[] theirs = rates(name);
    double[] ratios = new double[ours.length];
    Arrays.setAll(ratios, i -> ours[i] / theirs[i]);
    return ratios;
  }

  private static double median(double[] v) {
    double[] sorted = v.clone();
    Arrays.sort(sorted);
    int n = sorted.length;
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
  }

  private void print() {
    System.out.println("load average before each round: " + String.join(" ", load));
    System.out.println(
        "a second thread's gain in arithmetic, the worse of before and after each round: "
            + cores.stream()
                .map(c -> String.format(Locale.ROOT, "%.2f", c.gain()))
                .collect(Collectors.joining(" ")));
    System.out.printf(
        "%-12s %8s %8s %8s %6s %14s %14s   %s%n",
        "library", "steps/s", "least", "most", "cores", "ours / theirs", "on two cores", "version");
    for (String name : peers.keySet()) {
      double[] rates = rates(name);
      // Processor time over time: NumPy's single thread gets less than 1 only on a busy machine.
      double busy =
          median(measured.get(name).stream().mapToDouble(m -> m.cpu() / m.seconds()).toArray());
      System.out.printf(
          Locale.ROOT,
          "%-12s %8.0f %8.0f %8.0f %6.2f %14.2f %14.2f   %s%n",
          name,
          median(rates),
          Arrays.stream(rates).min().getAsDouble(),
          Arrays.stream(rates).max().getAsDouble(),
          busy,
          median(ratios(name)),
          onTwoCores(ratios(name)),
          peers.get(name).description());
    }
  }

  private Path write(Path results, double seconds, double warmup) throws IOException {
    Map<String, Object> libraries = new LinkedHashMap<>();
    for (String name : peers.keySet()) {
      Map<String, Object> library = new LinkedHashMap<>();
      library.put("version", peers.get(name).description());
      library.put("settings", peers.get(name).settings());
      library.put("stepsPerSecond", median(rates(name)));
      double rateOnTwo = onTwoCores(rates(name));
      library.put("stepsPerSecondOnTwoCores", Double.isNaN(rateOnTwo) ? null : rateOnTwo);
      if (!name.equals(OURS)) {
        library.put("oursOverTheirs", median(ratios(name)));
        library.put("oursOverTheirsByRound", ratios(name));
        double onTwo = onTwoCores(ratios(name));
        library.put("oursOverTheirsOnTwoCores", Double.isNaN(onTwo) ? null : onTwo);
        library.put("distanceAfter" + TRACED + "Steps", distances.get(name));
      }
      library.put("rounds", measured.get(name));
      libraries.put(name, library);
    }
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("date", LocalDate.now().toString());
    all.put("machine", Machine.describe());
    all.put(
        "training",
        "784-100-100-100-10 sigmoid, batch norm, cross-entropy, SGD, F32, batch "
            + Figure1.BATCH
            + " of "
            + Figure1.IMAGES
            + " binarized images, drawn uniformly");
    all.put("secondsPerMeasurement", seconds);
    all.put("secondsOfWarmup", warmup);
    all.put("loadAverageBeforeRounds", load);
    all.put("coresInRounds", cores);
    all.put("skipped", skipped);
    all.put("libraries", libraries);

    Gson gson = new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().create();
    Files.createDirectories(results);
    Path file = results.resolve("training-peers-" + LocalDate.now() + ".json");
    Path unfinished = Files.createTempFile(results, "training-peers", ".tmp");
    Files.writeString(unfinished, gson.toJson(all) + "\n");
    return Files.move(
        unfinished, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
