package org.fusednorm.cuda;

import static org.fusednorm.testing.Values.assertClose;
import static org.fusednorm.testing.Values.normal;
import static org.fusednorm.testing.Values.tensor;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Locale;
import jcuda.driver.CUfunction;
import jcuda.driver.JCudaDriver;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;
import org.fusednorm.cuda.DriverSession.DevicePointer;
import org.junit.jupiter.api.Test;

/** The inference kernels, launched through JCuda, against the reference. */
class InferKernelsTest {
  /** Outer, channels, inner; exact vectors, tails, planes smaller than a vector, odd channels. */
  private static final List<long[]> SMALL =
      List.of(
          new long[] {1, 1, 1},
          new long[] {2, 3, 16},
          new long[] {3, 5, 49},
          new long[] {2, 7, 3},
          new long[] {33, 24, 1},
          new long[] {19, 13, 1});

  private static final List<long[]> LARGE =
      List.of(
          new long[] {4, 32, 784},
          new long[] {3, 31, 1001},
          new long[] {1024, 96, 1},
          new long[] {1025, 77, 1});

  @Test
  void checkedUnderSeveralSchedules() throws Exception {
    assumeFalse(Emulator.onDevice(), "the machine's own driver has no checks");
    String output = Emulator.run(Emulator.Build.CHECKED, Main.class, "-Dshapes=small");
    assertTrue(output.contains("672 cases, 4 schedules"), output);
  }

  @Test
  void largerShapes() throws Exception {
    String output = Emulator.run(Emulator.Build.PLAIN, Main.class, "-Dshapes=large");
    assertTrue(output.contains("60 cases, 1 schedules"), output);
  }

  /** Runs in a JVM of its own; a failure is its exit code. */
  static final class Main {
    private static int cases;

    public static void main(String[] args) throws Exception {
      CudaStatus status = CudaDriver.status();
      if (!status.available()) {
        throw new IllegalStateException(status.cause());
      }
      boolean small = System.getProperty("shapes").equals("small");
      long[][] schedules =
          small ? new long[][] {{0, 0}, {1, 2}, {2, 0}, {3, 1}} : new long[][] {{}};
      try (DriverSession session = new DriverSession();
          Backend reference = Backends.open("reference")) {
        for (long[] schedule : schedules) {
          if (small) {
            Emulator.schedule(schedule[0], schedule[1]);
          }
          for (long[] s : small ? SMALL : LARGE) {
            for (DType t : List.of(DType.F32, DType.F16, DType.BF16)) {
              new Main(session, reference, Shape.ncl(s[0], s[1], s[2]), t).all(small);
            }
          }
        }
      }
      System.out.println(cases + " cases, " + schedules.length + " schedules");
    }

    private final DriverSession session;
    private final Backend reference;
    private final Shape shape;
    private final DType type;
    private final int lanes;

    Main(DriverSession session, Backend reference, Shape shape, DType type) {
      this.session = session;
      this.reference = reference;
      this.shape = shape;
      this.type = type;
      this.lanes = 16 / type.bytes();
    }

    private void all(boolean everySwitch) {
      for (String layout : List.of("plane", "row", "mixed", "scalar")) {
        if (!fits(layout)) {
          continue;
        }
        String entry = "infer_" + layout + "_" + type.name().toLowerCase(Locale.ROOT);
        for (int flags = everySwitch ? 0 : 2; flags < 4; flags++) {
          check(entry, (flags & 1) == 0 ? Activation.NONE : Activation.RELU, (flags & 2) != 0);
          cases++;
        }
      }
    }

    private boolean fits(String layout) {
      return switch (layout) {
        case "plane" -> shape.inner() % lanes == 0;
        case "row" -> shape.inner() == 1 && shape.channels() % lanes == 0;
        default -> true;
      };
    }

    private void check(String entry, Activation f, boolean withResidual) {
      int n = Math.toIntExact(shape.elements());
      int channels = Math.toIntExact(shape.channels());
      Shape perChannel = Shape.of(channels);
      Tensor x = tensor(reference, shape, type, normal(type, n, n, 100, 2));
      Tensor residual = tensor(reference, shape, type, normal(type, n + 1, n, 0, 1));
      Tensor y = reference.empty(shape, type);
      Running running = Running.cumulative(reference, channels, true);
      running.mean().copyFrom(normal(DType.F64, 1, channels, 100, 1));
      Affine affine =
          new Affine(
              tensor(reference, perChannel, DType.F32, normal(DType.F32, 2, channels, 1, 0.5)),
              tensor(reference, perChannel, DType.F32, normal(DType.F32, 3, channels, 0, 1)));
      Saved saved = Saved.empty(reference, shape, type, false);
      reference.norm().coefficients(running, affine, 1e-5, saved);
      reference.norm().infer(x, running, affine, 1e-5, f, withResidual ? residual : null, y);

      int bytes = n * type.bytes();
      DevicePointer out = session.allocate(bytes);
      ByteBuffer struct = DriverSession.buffer(80);
      struct.putLong(upload(x)).putLong(withResidual ? upload(residual) : 0).putLong(out.address());
      struct.putLong(upload(saved.center())).putLong(upload(saved.scale()));
      struct.putLong(upload(saved.shift())).putLong(shape.outer()).putLong(shape.channels());
      struct.putLong(shape.inner()).putLong(f == Activation.RELU ? 1 : 0);
      CUfunction function = session.function(entry);
      DriverSession.check(entry, DriverSession.launch(function, 3, 64, null, struct));
      DriverSession.check(entry, JCudaDriver.cuCtxSynchronize());
      Tensor actual = reference.empty(shape, type);
      actual.copyFrom(session.download(out, bytes));
      session.freeMemory();
      double ulp = type == DType.F32 ? 0x1p-22 : type == DType.F16 ? 0x1p-10 : 0x1p-7;
      String what = entry + " " + shape + " " + f + (withResidual ? " with residual" : "");
      assertClose(what, y.toDoubles(), actual.toDoubles(), ulp);
      List.of(x, residual, y, actual, affine.gamma(), affine.beta()).forEach(Tensor::close);
      saved.close();
      running.close();
    }

    private long upload(Tensor t) {
      ByteBuffer data = DriverSession.buffer(Math.toIntExact(t.shape().bytes(t.dtype())));
      t.copyTo(data);
      return session.upload(data.clear()).address();
    }
  }
}
