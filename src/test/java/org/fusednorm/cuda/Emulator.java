package org.fusednorm.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Make;
import org.fusednorm.testing.Required;

/**
 * The CUDA emulator of {@code cuda/emulator}, a driver library that runs the kernels on the CPU.
 * Tests fork a JVM that loads it; the native methods work in such a JVM only.
 */
final class Emulator {
  private Emulator() {}

  /** Which of its libraries. */
  enum Build {
    /** Fast, for larger shapes. */
    PLAIN,
    /** Checks every access to memory and every operation of the kernels. */
    CHECKED,
    /** Checked, with the emulator's own kernels of planted faults in place of ours. */
    FAULTS;

    /**
     * Builds it, unless {@code -Dfusednorm.test.emulator} names a folder with one built otherwise.
     */
    Path library() throws IOException, InterruptedException {
      String given = System.getProperty("fusednorm.test.emulator");
      if (given != null) {
        return Path.of(given, name().toLowerCase(Locale.ROOT), "libcuda.so.1");
      }
      Required.assume("nvcc", CudaImage.load().isPresent(), "built without the CUDA compiler");
      Path out = Make.run("cuda/emulator", this == FAULTS ? "faults" : "all");
      return out.resolve(name().toLowerCase(Locale.ROOT)).resolve("libcuda.so.1");
    }
  }

  /** A file for what would be run; then nothing is, and prints nothing. */
  private static final String FORKS = System.getenv("FUSEDNORM_TEST_FORKS");

  static final boolean NOTES = FORKS != null;

  private static final String CUBLAS = "-Dfusednorm.cuda.cublas=";

  /** The option that makes its cuBLAS of version 12 or 13 the one that is used. */
  static String withCublas(int version) throws IOException, InterruptedException {
    Path builds = Build.PLAIN.library().getParent().getParent();
    return CUBLAS + builds.resolve("cublas" + version).resolve("libcublas.so." + version);
  }

  /** What it counts; the order is that of {@code control.cpp}. */
  enum Count {
    CALLS,
    LAUNCHES,
    SWITCHES,
    ACCESSES,
    ALLOCATIONS,
    BYTES,
    PINNED,
    STREAMS,
    EVENTS,
    GRAPHS,
    EXECUTABLES,
    MODULES,
    CONTEXTS
  }

  /**
   * Runs a main class on a CUDA driver: the emulator, or the machine's own with {@code
   * -Dfusednorm.test.cuda=device}. Without cuBLAS on the former, unless an option names one.
   *
   * @throws AssertionError with what it printed, unless it exits with 0
   */
  static String run(Build build, Class<?> main, String... options)
      throws IOException, InterruptedException {
    return run(build, Map.of(), main, options);
  }

  /** The same with variables of the environment beside those of this process. */
  static String run(Build build, Map<String, String> environment, Class<?> main, String... options)
      throws IOException, InterruptedException {
    List<String> all = new ArrayList<>(List.of("-Xmx512m"));
    if (onDevice()) {
      Required.assume("cuda", CudaDriver.status().available(), CudaDriver.status().cause());
    } else {
      all.add("-Dfusednorm.cuda.libcuda=" + build.library());
      // A real one does not run on this driver; what the test gives comes later and counts.
      all.add(CUBLAS + "off");
    }
    all.add("-Djava.io.tmpdir=" + System.getProperty("java.io.tmpdir"));
    all.addAll(List.of(options));
    if (NOTES) {
      note(environment, main, all);
      return "";
    }
    ForkedJvm.Result result =
        ForkedJvm.start(System.getProperty("java.class.path"), environment, all, main).await();
    if (result.exit() != 0) {
      throw new AssertionError(main.getName() + " on " + build + ":\n" + result.output());
    }
    return result.output();
  }

  /** Notes what would be run, for {@code cuda/emulator/mutate}, and runs nothing. */
  private static void note(Map<String, String> environment, Class<?> main, List<String> options)
      throws IOException {
    List<String> fields = new ArrayList<>();
    fields.add(
        StackWalker.getInstance()
            .walk(
                frames ->
                    frames
                        .map(f -> f.getClassName().replaceAll(".*\\.", ""))
                        .filter(name -> name.endsWith("Test"))
                        .findFirst()
                        .orElseThrow()));
    fields.add(main.getName());
    fields.add(
        environment.entrySet().stream()
            .map(e -> e.getKey() + "=" + e.getValue())
            .sorted()
            .collect(Collectors.joining(",")));
    fields.addAll(options);
    Files.writeString(
        Path.of(FORKS),
        String.join("\t", fields) + "\n",
        StandardOpenOption.CREATE,
        StandardOpenOption.APPEND);
  }

  /** Whether CUDA tests run on a real device. */
  static boolean onDevice() {
    String where = System.getProperty("fusednorm.test.cuda", "emulator");
    if (!where.equals("emulator") && !where.equals("device")) {
      throw new IllegalArgumentException("-Dfusednorm.test.cuda=" + where + ": emulator or device");
    }
    return where.equals("device");
  }

  static long count(Count what) {
    return count(what.ordinal());
  }

  /**
   * Sets the order in which threads take turns from the next launch on.
   *
   * @param seed 0: first come, first served; 1: the reverse; others: random
   * @param preempt any thread may be overtaken at every so many accesses; 0: only where it waits
   */
  static native void schedule(long seed, long preempt);

  /** Makes the {@code call}-th driver call from now on fail with {@code code}; 0: none. */
  static native void failCall(long call, int code);

  private static native long count(int what);
}
