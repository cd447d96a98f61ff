package org.fusednorm.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.cuda.CudaDevice;
import org.fusednorm.cuda.CudaDriver;
import org.fusednorm.cuda.CudaImage;
import org.fusednorm.cuda.CudaPlan;
import org.fusednorm.cuda.CudaPlan.Operation;
import org.fusednorm.cuda.GpuModel;
import picocli.CommandLine.Command;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import picocli.CommandLine.TypeConversionException;

/** Tells which kernels a shape runs on a GPU, and what is predicted of them. */
@Command(
    name = "plan",
    description = {
      "Tells which CUDA kernels normalize a shape, with a prediction of bytes and time.",
      "",
      "Needs no GPU: the choice follows from shape, type, alignment and architecture. Registers and"
          + " shared memory are what the compiler told. 'least MB' must be read and written whatever"
          + " the kernel; 'MB' (10^6 bytes of the GPU's memory) and 'us' are predictions of a model,"
          + " not measurements. 'fusednorm bench' measures.",
      ""
    },
    footer = {
      "",
      "Example: a layer of ResNet-50 in bfloat16 on an A100:",
      "  fusednorm plan NCHW:32x64x56x56 --dtype BF16 --arch sm_80"
    })
final class PlanCommand implements Runnable {
  private static final int ARCHITECTURE = 90;
  private static final String BACKEND = "cuda";

  @Mixin private CommonOptions common;
  @Spec private CommandSpec spec;

  @Parameters(
      index = "0",
      paramLabel = "SHAPE",
      converter = ShapeOption.class,
      description =
          "What to normalize, as LAYOUT:AxBx.. with the extents in memory order, such as"
              + " NCHW:32x64x56x56, NHWC:32x56x56x64 or NC:60x100.")
  private Shape shape;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      defaultValue = "F32",
      description = "Type of the data: F32, F16, BF16 or F64 (default: ${DEFAULT-VALUE}).")
  private DType dtype;

  @Option(
      names = "--op",
      paramLabel = "NAME",
      converter = OperationOption.class,
      description =
          "Operation: forward, forward+relu, forward+add+relu, backward, backward+relu,"
              + " backward+add+relu or infer; may be given several times. Without it all.")
  private List<Operation> operations = List.of(Operation.values());

  @Option(
      names = "--arch",
      paramLabel = "ARCH",
      description =
          "Architecture of the GPU, such as sm_90, for which a product stands. Without it this"
              + " machine's GPU, or sm_90 where there is none.")
  private String architecture;

  @Option(
      names = "--bandwidth",
      paramLabel = "GB/S",
      description =
          "Most bytes that the GPU's memory moves, in 10^9 a second. Without it what the driver or"
              + " the data sheet tells.")
  private Double bandwidth;

  @Option(
      names = "--alignment",
      paramLabel = "BYTES",
      defaultValue = "16",
      description =
          "Power of two that divides every address; tensors of one's own have 16"
              + " (default: ${DEFAULT-VALUE}).")
  private int alignment;

  @Option(
      names = "--way",
      paramLabel = "NAME",
      description =
          "What to plan instead of the first choice, where that is possible: a kind of single-pass"
              + " kernels such as rr_c2, tickets or parts. --json tells which there are.")
  private String way;

  PlanCommand() {}

  static final class OperationOption implements ITypeConverter<Operation> {
    @Override
    public Operation convert(String value) {
      return Arrays.stream(Operation.values())
          .filter(o -> o.toString().equals(value))
          .findFirst()
          .orElseThrow(
              () ->
                  new TypeConversionException(
                      "'"
                          + value
                          + "' is none of "
                          + Arrays.stream(Operation.values())
                              .map(Operation::toString)
                              .collect(Collectors.joining(", "))));
    }
  }

  /** The document of {@code --json}. */
  private record Document(
      String shape,
      String dtype,
      int alignment,
      GpuModel gpu,
      String note,
      List<Planned> operations) {}

  private record Planned(
      String operation,
      long minimalBytes,
      long memoryBytes,
      double seconds,
      List<String> possible,
      List<CudaPlan.Launch> launches) {}

  @Override
  public void run() {
    if (!dtype.isFloating()) {
      throw refused("--dtype must be F32, F16, BF16 or F64, not " + dtype);
    }
    if (Integer.bitCount(alignment) != 1 || alignment < dtype.bytes() || alignment > 16) {
      throw refused(
          "--alignment must be a power of two from "
              + dtype.bytes()
              + ", the bytes of "
              + dtype
              + ", to 16, not "
              + alignment);
    }
    GpuModel gpu = gpu();
    CudaImage image = image();
    List<CudaPlan> plans =
        operations.stream()
            .map(o -> CudaPlan.of(o, shape, dtype, alignment, gpu, image, way))
            .toList();
    if (way != null && plans.stream().noneMatch(p -> p.possible().contains(way))) {
      throw refused("--way " + way + " is possible for none of the operations here");
    }
    PrintWriter out = spec.commandLine().getOut();
    if (common.json()) {
      Json.print(out, document(plans, gpu));
    } else {
      print(out, plans, gpu, image);
      out.flush();
    }
  }

  private ParameterException refused(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private GpuModel gpu() {
    GpuModel gpu = architecture == null ? here() : named();
    if (bandwidth == null) {
      return gpu;
    }
    if (!(bandwidth > 0 && bandwidth <= 1e6)) {
      throw refused("--bandwidth must be more than 0 and at most 1000000, not " + bandwidth);
    }
    return gpu.withBandwidth(1e9 * bandwidth, "--bandwidth");
  }

  private GpuModel named() {
    String digits = architecture.startsWith("sm_") ? architecture.substring(3) : architecture;
    if (!digits.matches("\\d{2,4}")) {
      throw refused("--arch must be as sm_90, not '" + architecture + "'");
    }
    try {
      return GpuModel.of(Integer.parseInt(digits));
    } catch (IllegalArgumentException e) {
      throw refused("--arch: " + e.getMessage());
    }
  }

  /** This machine's GPU: the first, or that of {@code --backend}. */
  private GpuModel here() {
    String asked = common.backend();
    if (asked != null && !asked.toLowerCase(Locale.ROOT).matches(BACKEND + "(:\\d{1,4})?")) {
      throw refused("--backend must be cuda or as cuda:1, not " + asked + ": others have no plan");
    }
    List<CudaDevice> devices = CudaDriver.status().devices();
    int index =
        asked == null || !asked.contains(":")
            ? 0
            : Integer.parseInt(asked.substring(asked.indexOf(':') + 1));
    if (index < devices.size()) {
      return GpuModel.of(devices.get(index));
    }
    if (asked != null) {
      String cause = CudaDriver.status().cause();
      throw new UserError(
          "there is no "
              + asked
              + (cause == null ? " among " + devices.size() + " GPU(s)" : ": " + cause)
              + "; --arch plans for a GPU that is not here");
    }
    return GpuModel.of(ARCHITECTURE);
  }

  private static CudaImage image() {
    try {
      return CudaImage.load().orElse(null);
    } catch (IOException e) {
      throw new UserError(e.getMessage(), e);
    }
  }

  private Document document(List<CudaPlan> plans, GpuModel gpu) {
    return new Document(
        shape.toString(),
        dtype.name(),
        alignment,
        gpu,
        "memoryBytes and seconds are predictions of a model, not measurements",
        plans.stream()
            .map(
                p ->
                    new Planned(
                        p.operation().toString(),
                        p.minimalBytes(),
                        p.memoryBytes(),
                        p.seconds(),
                        p.possible(),
                        p.launches()))
            .toList());
  }

  private void print(PrintWriter out, List<CudaPlan> plans, GpuModel gpu, CudaImage image) {
    out.printf(
        Locale.ROOT,
        "%s %s on %s (sm_%d)%n"
            + "%d multiprocessors, %d KiB of shared memory, L2 of %d MiB, %.0f GB/s by %s%n"
            + "MB and us are predictions of a model, not measurements.%n",
        shape,
        dtype,
        gpu.name(),
        gpu.architecture(),
        gpu.multiprocessors(),
        gpu.sharedBytes() >> 10,
        gpu.cacheBytes() >> 20,
        gpu.bytesPerSecond() / 1e9,
        gpu.source());
    if (image == null) {
      out.println("No registers are told: this build was made without the CUDA compiler.");
    }
    out.println();
    table(plans).print(out);
  }

  private static TextTable table(List<CudaPlan> plans) {
    TextTable table =
        new TextTable(
            "llrrrrrrr",
            "operation",
            "kernel",
            "cluster",
            "block",
            "regs",
            "shared",
            "least MB",
            "MB",
            "us");
    for (CudaPlan p : plans) {
      String name = p.operation().toString();
      String least = megabytes(p.minimalBytes());
      for (CudaPlan.Launch l : p.launches()) {
        table.row(
            name,
            l.kernel(),
            Integer.toString(l.cluster()),
            Integer.toString(l.block()),
            text(l.registers()),
            text(l.sharedBytes()),
            least,
            megabytes(l.memoryBytes()),
            microseconds(l.seconds()));
        name = "";
        least = "";
      }
      if (p.launches().size() > 1) {
        String all = megabytes(p.memoryBytes());
        table.row("", "together", "", "", "", "", "", all, microseconds(p.seconds()));
      }
    }
    return table;
  }

  private static String text(Integer n) {
    return n == null ? "-" : n.toString();
  }

  private static String megabytes(long bytes) {
    return String.format(Locale.ROOT, "%.2f", bytes / 1e6);
  }

  private static String microseconds(double seconds) {
    return String.format(Locale.ROOT, "%.1f", 1e6 * seconds);
  }
}
