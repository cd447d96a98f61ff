package org.fusednorm.cuda;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import jcuda.driver.CUresult;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Make;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every step on the way to the GPU, each in a JVM of its own. */
class CudaDriverTest {
  @TempDir Path folder;

  /** Prints the status; an exception would be the exit code 1. */
  static final class Report {
    public static void main(String[] args) {
      String before = System.getProperty("java.io.tmpdir");
      CudaStatus status = CudaDriver.status();
      System.out.println("available " + status.available());
      System.out.println("cause " + status.cause());
      System.out.println("cure " + status.cure());
      System.out.println("driver " + status.driverVersion());
      System.out.println("devices " + status.devices());
      boolean restored = before.equals(System.getProperty("java.io.tmpdir"));
      System.out.println("again " + (CudaDriver.status() == status) + " " + restored);
    }
  }

  @Test
  void offSwitch() {
    List<String> lines = report(Map.of(), "-Dfusednorm.cuda=off");
    assertMissing(lines, "switched off by -Dfusednorm.cuda=off", "remove the switch", null);
  }

  @Test
  void withoutDriver() throws Exception {
    Assumptions.assumeFalse(hasDriver(), "this machine has a libcuda.so.1");
    List<String> lines = report(Map.of());
    assertMissing(lines, "libcuda.so.1", "install the NVIDIA driver r580 or newer", null);
    assertEquals(List.of(), filesIn(folder));
  }

  @Test
  void availableWhereRequired() {
    CudaStatus status = CudaDriver.status();
    Required.assume("cuda", status.available(), status.cause());
    assertTrue(status.devices().stream().allMatch(d -> d.architecture() >= 75));
  }

  @Test
  void namedDriverThatDoesNotExist() {
    String path = folder.resolve("libcuda.so.1").toString();
    List<String> lines = report(Map.of(), "-Dfusednorm.cuda.libcuda=" + path);
    assertMissing(lines, "-Dfusednorm.cuda.libcuda=" + path + " does not load", "name", null);
  }

  @Test
  void temporaryFolderThatDoesNotExist() {
    Path nowhere = folder.resolve("nowhere");
    List<String> lines = report(Map.of(), "-Djava.io.tmpdir=" + nowhere);
    assertMissing(lines, "private directory in " + nowhere, "set -Djava.io.tmpdir", null);
  }

  @Test
  void otherPlatform() {
    List<String> lines = report(Map.of(), "-Dos.name=Linux", "-Dos.arch=aarch64");
    assertMissing(lines, "is not on the class path", "CUDA needs Linux x86-64", null);
  }

  @Test
  void driverThatSeesNoGpu() throws Exception {
    List<String> lines = stub(Map.of("STUB_INIT", "100"));
    assertMissing(lines, "cuInit(0): CUDA_ERROR_NO_DEVICE (100)", "nvidia-smi", null);
  }

  @Test
  void driverThatFails() throws Exception {
    List<String> lines = stub(Map.of("STUB_INIT", "999"));
    assertMissing(lines, "cuInit(0): CUDA_ERROR_UNKNOWN (999)", "nvidia-smi", null);
  }

  @Test
  void driverTooOld() throws Exception {
    List<String> lines = stub(Map.of("STUB_VERSION", "11080"));
    assertMissing(lines, "supports CUDA 11.8, the kernels need 12.0", "r525", "11.8");
  }

  @Test
  void driverOfCuda12CompilesTheKernels() throws Exception {
    needsImage();
    List<String> lines = stub(Map.of("STUB_VERSION", "12000"));
    assertEquals(List.of("available true", "cause null"), lines.subList(0, 2));
    assertEquals("driver 12.0", lines.get(3));
  }

  @Test
  void gpuTooOld() throws Exception {
    List<String> lines = stub(Map.of("STUB_ARCHITECTURE", "70"));
    assertMissing(lines, "only [Stub Zero (sm_70), Stub One (sm_61)]", "Turing", "13.0");
  }

  @Test
  void imageWithoutAnEntry() throws Exception {
    needsImage();
    List<String> lines = stub(Map.of("STUB_ABSENT", "forward_half"));
    assertMissing(
        lines, "cuModuleGetFunction(forward_half): CUDA_ERROR_NOT_FOUND", "undamaged", "13.0");
  }

  /** Each call of the driver on the way fails once, with memory short. */
  @Test
  void everyStepCanFail() throws Exception {
    Assumptions.assumeFalse(Emulator.onDevice(), "the machine's own driver fails at its own will");
    String output = Emulator.run(Emulator.Build.PLAIN, FailingSteps.class);
    List<String> lines = output.lines().toList();
    assertEquals("then available", lines.get(lines.size() - 1));
    int steps = lines.size() - 1;
    assertTrue(steps >= 14 + CudaKernels.ENTRIES.size(), output);
    for (String line : lines.subList(0, steps)) {
      assertTrue(
          line.matches(
              "cu[A-Za-z]+.*: CUDA_ERROR_OUT_OF_MEMORY \\(2\\) \\| other programs take .*"),
          line);
    }
  }

  /** Prints cause and cure for each. */
  static final class FailingSteps {
    public static void main(String[] args) {
      CudaDriver.status(); // loads the emulator
      for (int call = 1; ; call++) {
        Emulator.failCall(call, CUresult.CUDA_ERROR_OUT_OF_MEMORY);
        CudaStatus status = new CudaProbe().run();
        if (status.available()) {
          break;
        }
        System.out.println(status.cause() + " | " + status.cure());
        // A step that could not be undone would be seen as memory that is left.
        if (Emulator.count(Emulator.Count.MODULES) != 0) {
          throw new IllegalStateException("left after " + status.cause());
        }
      }
      Emulator.failCall(0, 0);
      System.out.println("then available");
    }
  }

  @Test
  void everyStepTaken() throws Exception {
    needsImage();
    assertEquals(
        List.of(
            "available true",
            "cause null",
            "cure null",
            "driver 13.0",
            "devices [CudaDevice[ordinal=0, name=Stub Zero, architecture=90,"
                + " memoryBytes=5368709120, multiprocessors=0, sharedBytes=0, cacheBytes=0,"
                + " bytesPerSecond=0.0]]",
            "again true true"),
        stub(Map.of()));
    assertEquals(List.of(), filesIn(folder));
  }

  @Test
  void jvmsThatStartAtOnceDoNotMeet() throws Exception {
    needsImage();
    Path library = Make.run("cuda", "driver-stub").resolve("stub/libcuda.so.1");
    List<String> options =
        List.of("-Dfusednorm.cuda.libcuda=" + library, "-Djava.io.tmpdir=" + folder);
    String classPath = System.getProperty("java.class.path");
    List<ForkedJvm> jvms =
        Stream.generate(() -> ForkedJvm.start(classPath, Map.of(), options, Report.class))
            .limit(2)
            .toList();
    for (ForkedJvm jvm : jvms) {
      ForkedJvm.Result result = jvm.await();
      assertEquals(0, result.exit(), result.output());
      assertTrue(result.output().startsWith("available true\n"), result.output());
    }
    assertEquals(List.of(), filesIn(folder));
  }

  private List<String> stub(Map<String, String> answers) throws Exception {
    Path library = Make.run("cuda", "driver-stub").resolve("stub/libcuda.so.1");
    return report(answers, "-Dfusednorm.cuda.libcuda=" + library);
  }

  private List<String> report(Map<String, String> environment, String... options) {
    List<String> all =
        Stream.concat(Stream.of("-Djava.io.tmpdir=" + folder), Stream.of(options)).toList();
    ForkedJvm.Result result =
        ForkedJvm.start(System.getProperty("java.class.path"), environment, all, Report.class)
            .await();
    assertEquals(0, result.exit(), result.output());
    // JDK 20 and later say this by themselves.
    return result
        .output()
        .lines()
        .filter(line -> !line.equals("WARNING: java.io.tmpdir directory does not exist"))
        .toList();
  }

  private static void assertMissing(List<String> lines, String cause, String cure, String driver) {
    String all = String.join("\n", lines);
    assertEquals(6, lines.size(), all);
    assertEquals("available false", lines.get(0), all);
    assertTrue(lines.get(1).startsWith("cause ") && lines.get(1).contains(cause), all);
    assertTrue(lines.get(2).startsWith("cure ") && lines.get(2).contains(cure), all);
    assertEquals("driver " + driver, lines.get(3), all);
    assertEquals("devices []", lines.get(4), all);
    assertEquals("again true true", lines.get(5), all);
  }

  private static void needsImage() throws IOException {
    Required.assume("nvcc", CudaImage.load().isPresent(), "built without the CUDA compiler");
  }

  /** Asks the system's loader, which complains where it finds none. */
  private static boolean hasDriver() throws Exception {
    ProcessBuilder any = new ProcessBuilder("/bin/sh", "-c", ":").redirectErrorStream(true);
    any.environment().put("LD_PRELOAD", "libcuda.so.1");
    Process process = any.start();
    String complaints = new String(process.getInputStream().readAllBytes(), UTF_8);
    assertEquals(0, process.waitFor(), complaints);
    return !complaints.contains("libcuda.so.1");
  }

  private static List<Path> filesIn(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.toList();
    }
  }
}
