package org.fusednorm.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.fusednorm.Availability.Part;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Recording;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.fusednorm.cuda.Emulator.Build;
import org.fusednorm.cuda.Emulator.Count;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Matrix products of cuBLAS through JCublas: on the emulator, with its fake of the library. */
class CudaBlasTest {
  @TempDir Path folder;

  @BeforeEach
  void onTheEmulator() {
    assumeFalse(Emulator.onDevice(), "these are about the emulator's cuBLAS");
  }

  /** Version 13 goes through the forwarding library. */
  @ParameterizedTest
  @ValueSource(ints = {12, 13})
  void productsAgreeWithTheReference(int version) throws Exception {
    String cublas = Emulator.withCublas(version);
    String output =
        Emulator.run(Build.CHECKED, CudaMathTest.Main.class, "-Dsizes=products", cublas);
    assertTrue(output.contains("768 cases, 1 schedules"), output);
    String used = Emulator.run(Build.CHECKED, Use.class, cublas);
    assertEquals(
        "before: cuBLAS, "
            + cublas.substring(cublas.indexOf('/'))
            + (version == 13 ? ", by a forwarding libcublas.so.12" : "")
            + "\n"
            + (version == 13 ? "cuBLAS 13.1.0" : "cuBLAS 12.6.0")
            + "\nproduct 3.0\nreplayed 6.0\nagain 10.0\nheld true\nclosed 0\n",
        used);
  }

  @Test
  void tf32OnlyWhereItIsAskedFor() throws Exception {
    String cublas = Emulator.withCublas(12);
    assertEquals("cuBLAS 12.6.0: 1.0004883\n", Emulator.run(Build.PLAIN, Precision.class, cublas));
    assertEquals(
        "cuBLAS 12.6.0 in TF32: 1.0\n",
        Emulator.run(Build.PLAIN, Precision.class, cublas, "-Dfusednorm.cuda.tf32=on"));
    String output =
        Emulator.run(Build.PLAIN, Precision.class, cublas, "-Dfusednorm.cuda.tf32=maybe");
    assertEquals("-Dfusednorm.cuda.tf32=maybe is neither on nor off\n", output);
  }

  /** Whatever is wrong with cuBLAS, products go on, and the cause is told. */
  @Test
  void withoutCublas() throws Exception {
    Path text = Files.writeString(folder.resolve("libcublas.so.12"), "no library");
    Map<String, String> causes =
        Map.of(
            "off",
            "switched off by -Dfusednorm.cuda.cublas=off",
            folder.resolve("nowhere").toString(),
            "no libcublas.so.12 or .13 in " + folder,
            text.toString(),
            text + " does not load: ",
            folder.toString(),
            text + " does not load: ");
    for (Map.Entry<String, String> e : causes.entrySet()) {
      String setting = "-Dfusednorm.cuda.cublas=" + e.getKey();
      // The JVM itself warns of a file that is no library.
      String output = Emulator.run(Build.PLAIN, Precision.class, setting);
      assertTrue(output.endsWith("plain matrix products: 1.0004883\n"), output);
      String cause = Emulator.run(Build.PLAIN, Found.class, setting);
      assertTrue(cause.contains(e.getValue()), cause);
    }
  }

  /** In folders of the loader, of a toolkit and of Python; 12 before 13. */
  @Test
  void isFoundWhereInstallationsPutIt() throws Exception {
    Path twelve = fileOf(12);
    assertEquals(twelve + "\n", found(Map.of("LD_LIBRARY_PATH", twelve.getParent() + ":/nowhere")));

    String others = found(Map.of());
    assumeTrue(others.startsWith("no libcublas.so.12 or .13 in"), "there is " + others);
    Path python = folder.resolve("venv/lib/python3.12/site-packages/nvidia/cu13/lib");
    Path inPython = Files.createDirectories(python).resolve("libcublas.so.13");
    Files.copy(fileOf(13), inPython);
    String venv = folder.resolve("venv").toString();
    assertEquals(
        inPython + ", by a forwarding libcublas.so.12\n", found(Map.of("VIRTUAL_ENV", venv)));
    Path toolkit = folder.resolve("toolkit");
    Path inToolkit = Files.createDirectories(toolkit.resolve("lib64")).resolve("libcublas.so.12");
    Files.copy(twelve, inToolkit);
    assertEquals(
        inToolkit + "\n", found(Map.of("VIRTUAL_ENV", venv, "CUDA_HOME", toolkit.toString())));
  }

  private static Path fileOf(int version) throws Exception {
    return Path.of(Emulator.withCublas(version).split("=")[1]);
  }

  private static String found(Map<String, String> environment) throws Exception {
    return Emulator.run(Build.PLAIN, environment, Found.class, "-Dfusednorm.cuda.cublas= ");
  }

  /** A call of cuBLAS that fails at its start, one after the other. */
  @Test
  void startsThatFail() throws Exception {
    String output = Emulator.run(Build.PLAIN, Failures.class, Emulator.withCublas(12));
    assertTrue(output.contains("cublasCreate: CUBLAS_STATUS_NOT_INITIALIZED (1)"), output);
    assertTrue(output.matches("(?s).*\n[1-9][0-9]* failures, then none\n"), output);
  }

  /** A backend of its own JVM. */
  private static Backend open() {
    return TestBackends.over(new CudaProvider().open(0));
  }

  private static String products(Backend b) {
    String d = b.description();
    return d.substring(d.indexOf("13.0, ") + 6);
  }

  static final class Use {
    public static void main(String[] args) {
      Backend b = open();
      try (b) {
        System.out.println("before: " + products(b) + ", " + CublasLibrary.find().describe());
        Tensor x = b.of(Shape.of(1, 1), 3);
        Tensor y = b.of(Shape.of(1, 1), 1);
        Tensor z = b.empty(Shape.of(1, 1), DType.F32);
        try (Recording r = b.record(() -> b.math().matmul(x, false, y, true, z, Write.SET))) {
          System.out.println(products(b));
          System.out.println("product " + z.toFloats()[0]);
          y.copyFrom(2f);
          r.replay();
          System.out.println("replayed " + z.toFloats()[0]);
          b.math().matmul(x, true, x, false, z, Write.SET);
          y.copyFrom(1f);
          b.math().matmul(y, true, y, false, z, Write.ADD);
          System.out.println("again " + z.toFloats()[0]);
        }
        System.out.println("held " + (Emulator.count(Count.BYTES) >= 32 << 20));
      }
      System.out.println("closed " + Emulator.count(Count.ALLOCATIONS));
    }
  }

  /** 1 + 2^-11 has more bits than TF32 keeps. */
  static final class Precision {
    public static void main(String[] args) {
      try (Backend b = open()) {
        Tensor x = b.of(Shape.of(1, 1), 1 + 0x1p-11f);
        Tensor y = b.of(Shape.of(1, 1), 1);
        Tensor z = b.empty(Shape.of(1, 1), DType.F32);
        b.math().matmul(x, false, y, false, z, Write.SET);
        System.out.println(products(b) + ": " + z.toFloats()[0]);
      } catch (IllegalArgumentException e) {
        System.out.println(e.getMessage());
      }
    }
  }

  static final class Found {
    public static void main(String[] args) {
      // Its fake finds the driver that is loaded.
      if (!CudaDriver.status().available()) {
        throw new IllegalStateException(CudaDriver.status().cause());
      }
      Part part = CublasLibrary.find().part();
      System.out.println(part.value().isEmpty() ? part.cause() : part.value());
    }
  }

  /** Every driver call of the first product fails once: plain kernels take over, nothing leaks. */
  static final class Failures {
    public static void main(String[] args) {
      int failures = 0;
      while (fails(failures + 1)) {
        failures++;
      }
      System.out.println(failures + " failures, then none");
    }

    private static boolean fails(int call) {
      boolean fell;
      try (Backend b = open()) {
        Tensor x = b.of(Shape.of(1, 1), 3);
        Tensor z = b.of(Shape.of(1, 1), 0);
        b.synchronize();
        Emulator.failCall(call, 999);
        boolean failed = false;
        try {
          b.math().matmul(x, false, x, false, z, Write.SET);
        } catch (RuntimeException e) {
          // The context could not be made current, or the plain kernel's launch failed.
          failed = true;
        }
        Emulator.failCall(0, 0);
        fell = failed || products(b).startsWith("plain");
        if (!failed && z.toFloats()[0] != 9) {
          throw new IllegalStateException("call " + call + ": " + z.toFloats()[0]);
        }
      }
      if (Emulator.count(Count.ALLOCATIONS) != 0) {
        throw new IllegalStateException("call " + call + " leaves memory behind");
      }
      return fell;
    }
  }
}
