package org.fusednorm.bench;

import java.io.IOException;
import java.lang.ProcessBuilder.Redirect;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Measures normalization on the CPU here and in other libraries, side by side.
 *
 * <p>JMH does not interleave, so it is called once for each measurement: a fork of its own, short
 * iterations. In a round every {@link Contest} comes once, in random order, and in a contest all
 * contenders, in random order, so that those that are compared run within seconds of each other;
 * ratios are taken within a round. Whatever is measured goes to a record at once, and a run that
 * was stopped goes on where it was.
 */
final class CpuPeers {
  private static final int WARMUPS = 3;
  private static final int ITERATIONS = 5;
  private static final TimeValue ITERATION = TimeValue.milliseconds(60);

  /** Loops in Java want their compiler first. */
  private static final int JAVA_WARMUPS = 12;

  /**
   * Where a call takes a millisecond or less, the JVM's compilers take one of two processors for
   * most of a second: two threads of any library then got no more done than one, and NHWC
   * 32x7x7x2048 took 1.0 to 1.9 ms for 0.9 to 1.1.
   */
  private static final int SHORT_WARMUPS = 20;

  private static final long SHORT_BYTES = 64 << 20;

  private static final int STOPPED = 3;

  private final Path work;
  private final String kind;
  private final String only;
  private final int threads;
  private final int round;
  private final int rounds;
  private final PeerRecord record;
  private final long deadline;
  private final String ownClassPath = System.getProperty("java.class.path");
  private final String nd4jClassPath;

  private CpuPeers(String[] args) throws IOException {
    work = Path.of(args[0]);
    record = PeerRecord.open(Path.of(args[1]));
    kind = args[2];
    threads = Integer.parseInt(args[3]);
    round = Integer.parseInt(args[4]);
    rounds = Integer.parseInt(args[5]);
    nd4jClassPath = args[6];
    deadline = System.nanoTime() + (long) (Double.parseDouble(args[7]) * 1e9);
    only = args[8];
  }

  /**
   * Measures what is missing of one round, and ends with code 3 where the time was too short.
   *
   * @param args work folder, record, {@code headline} or {@code all}, threads, round, of how many,
   *     class path of ND4J, seconds after which no contest is begun, regular expression of cases
   */
  public static void main(String[] args) throws Exception {
    CpuPeers run = new CpuPeers(args);
    boolean done = run.check() && run.measure();
    System.exit(done ? 0 : STOPPED);
  }

  /** Whether all compute the same, asked once for each record. */
  private boolean check() throws IOException, InterruptedException {
    for (Contender.Process p : Contender.Process.values()) {
      if (record.isChecked(p.name(), threads)) {
        continue;
      }
      if (System.nanoTime() > deadline) {
        return false;
      }
      System.err.println("checking results against the reference: " + p);
      List<String> command = new ArrayList<>();
      command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
      command.addAll(options(p));
      command.addAll(List.of("-Xmx6g", "-cp", classPath(p), NormCheck.class.getName()));
      command.addAll(List.of(p.name(), kind, only));
      Path log = work.resolve("check-" + p + ".log");
      int code =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(Redirect.to(log.toFile()))
              .start()
              .waitFor();
      if (code != 0) {
        throw new IllegalStateException("results differ: " + log + "\n" + Files.readString(log));
      }
      record.checked(p.name(), threads, Files.readAllLines(log));
    }
    return true;
  }

  private boolean measure() throws IOException {
    List<Contest> contests = new ArrayList<>(Contest.planned(kind, only));
    Random random = new Random(1000L * threads + round);
    Collections.shuffle(contests, random);
    long start = System.nanoTime();
    int made = 0;
    for (int i = 0; i < contests.size(); i++) {
      NormCase norm = contests.get(i).norm();
      List<Contender> contenders = new ArrayList<>(contests.get(i).contenders());
      Collections.shuffle(contenders, random);
      if (record.has(norm, threads, round)) {
        continue;
      }
      if (System.nanoTime() > deadline) {
        return false;
      }
      List<PeerRecord.Measurement> measured = new ArrayList<>();
      for (Contender c : contenders) {
        measured.add(measure(norm, c));
      }
      // All or none of a contest, so that every ratio is within minutes.
      record.add(norm, threads, round, measured);
      made++;
      double seconds = (System.nanoTime() - start) / 1e9;
      System.err.printf(
          "round %d/%d, %d threads, contest %d/%d, %.0f s, %.1f s each: %s%n",
          round,
          rounds,
          threads,
          i + 1,
          contests.size(),
          seconds,
          seconds / made,
          PeerRecord.line(norm, measured));
    }
    return true;
  }

  private PeerRecord.Measurement measure(NormCase norm, Contender contender) {
    NormCase c = contender.taken(norm);
    boolean slow = contender.process() == Contender.Process.JAVA;
    ChainedOptionsBuilder options =
        new OptionsBuilder()
            .include("^" + contender.benchmark().getName().replace(".", "\\.") + "\\.call$")
            .param("shape", c.shapeText())
            .param("type", c.type().name())
            .param("operation", c.operation().toString())
            .forks(1)
            .warmupIterations(
                c.dataBytes() < SHORT_BYTES ? SHORT_WARMUPS : slow ? JAVA_WARMUPS : WARMUPS)
            .warmupTime(ITERATION)
            .measurementIterations(ITERATIONS)
            .measurementTime(ITERATION)
            .jvmArgs(options(contender.process()).toArray(String[]::new))
            .shouldFailOnError(true)
            .verbosity(VerboseMode.NORMAL)
            .output(work.resolve("jmh.log").toString());
    for (Map.Entry<String, String> e : contender.parameters().entrySet()) {
      options.param(e.getKey(), e.getValue());
    }
    // JMH starts its forks with the class path that this property has.
    System.setProperty("java.class.path", classPath(contender.process()));
    try {
      RunResult result = new Runner(options.build()).runSingle();
      List<Double> seconds = new ArrayList<>();
      for (IterationResult i :
          result.getBenchmarkResults().iterator().next().getIterationResults()) {
        seconds.add(1 / i.getPrimaryResult().getScore());
      }
      return new PeerRecord.Measurement(contender.name(), seconds);
    } catch (RunnerException e) {
      throw new IllegalStateException(
          contender.name() + " failed in " + c + ": see " + work.resolve("jmh.log"), e);
    } finally {
      System.setProperty("java.class.path", ownClassPath);
    }
  }

  private String classPath(Contender.Process p) {
    return p == Contender.Process.ND4J ? nd4jClassPath : ownClassPath;
  }

  /** Of every fork; each library takes what it knows. */
  private List<String> options(Contender.Process p) {
    List<String> options =
        new ArrayList<>(
            List.of(
                "--enable-native-access=ALL-UNNAMED",
                // Threads of a concurrent collector would take part in the measurement.
                "-XX:+UseSerialGC",
                "-Djava.io.tmpdir=" + System.getProperty("java.io.tmpdir"),
                "-Dfusednorm.threads=" + threads,
                "-Dfusednorm.bench.limit=" + work.resolve("liblimit.so"),
                "-Dorg.bytedeco.javacpp.cachedir=" + work.resolve("javacpp-" + p),
                "-Dslf4j.internal.verbosity=ERROR",
                "-Dai.djl.offline=true",
                "-DOPT_OUT_TRACKING=true",
                "-DDJL_CACHE_DIR=" + work.resolve("djl"),
                "-Dai.djl.pytorch.num_interop_threads=1",
                "-Dai.djl.pytorch.num_threads=" + threads));
    if (threads == 1) {
      // Kept from wandering. On a processor for the whole JVM it would share it with the compilers,
      // and took up to four times as long.
      options.add(
          "-Dfusednorm.bench.processor=" + (Runtime.getRuntime().availableProcessors() - 1));
    }
    if (p == Contender.Process.JAVA) {
      options.add("-Dfusednorm.native=off");
    }
    if (p == Contender.Process.ND4J && !Machine.hasAvx512()) {
      // It takes its largest library without looking at the processor.
      options.add("-Dorg.bytedeco.javacpp.platform.extension=-avx2");
    }
    return options;
  }
}
