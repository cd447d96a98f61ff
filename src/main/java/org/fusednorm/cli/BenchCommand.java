package org.fusednorm.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Tells how fast this machine normalizes. */
@Command(
    name = "bench",
    description = {
      "Times normalization, beside the speed of a copy of the same data.",
      "",
      "Forward and backward with and without ReLU, and inference, take turns with a copy"
          + " made by the same backend. GB/s counts the least bytes that an operation must read"
          + " and write: twice the data for forward and inference, three times for backward, once"
          + " more for a residual. 'of copy' is that speed over the copy's in the same round, the"
          + " median of all rounds; 100 %% would be one pass at the speed of memory.",
      "",
      "On a GPU the operands change from call to call, more of them than its cache holds, and calls"
          + " are replayed from a recording: times are the device's own.",
      ""
    },
    footer = {
      "",
      "Example: a layer of ResNet-50 in bfloat16, channels last, for ten seconds:",
      "  fusednorm bench --shape NHWC:32x56x56x64 --dtype BF16 --seconds 10"
    })
final class BenchCommand implements Runnable {
  private static final List<Shape> SHAPES =
      List.of(
          Shape.nchw(32, 64, 56, 56),
          Shape.nhwc(32, 56, 56, 64),
          Shape.nchw(32, 512, 28, 28),
          Shape.nchw(32, 2048, 7, 7),
          Shape.nc(8192, 1024),
          Shape.nc(60, 100));

  /** Steps of the progress bar for each shape. */
  private static final int STEPS = 20;

  @Mixin private CommonOptions common;
  @Spec private CommandSpec spec;

  @Option(
      names = "--shape",
      paramLabel = "SHAPE",
      converter = ShapeOption.class,
      description =
          "What to normalize, as LAYOUT:AxBx.. with the extents in memory order, such as"
              + " NCHW:32x64x56x56, NHWC:32x56x56x64 or NC:60x100; may be given several times."
              + " Without it a few layers of common networks.")
  private List<Shape> shapes = SHAPES;

  @Option(
      names = "--dtype",
      paramLabel = "TYPE",
      defaultValue = "F32",
      description = "Type of the data: F32, F16, BF16 or F64 (default: ${DEFAULT-VALUE}).")
  private DType dtype;

  @Option(
      names = "--seconds",
      paramLabel = "S",
      defaultValue = "30",
      description = "About how long to measure in all (default: ${DEFAULT-VALUE}).")
  private double seconds;

  BenchCommand() {}

  /** The document of {@code --json}. */
  private record Document(
      String backend, String description, Machine machine, String dtype, List<Result> results) {}

  private record Result(String shape, List<Bench.Timing> operations) {}

  @Override
  public void run() {
    if (!dtype.isFloating()) {
      throw refused("--dtype must be F32, F16, BF16 or F64, not " + dtype);
    }
    if (!(seconds > 0 && seconds <= 86_400)) {
      throw refused("--seconds must be more than 0 and at most 86400, not " + seconds);
    }
    try (Backend backend = common.open()) {
      List<Result> results = measure(backend);
      PrintWriter out = spec.commandLine().getOut();
      String name = backend.device().toString();
      if (common.json()) {
        Machine machine = Machine.here();
        Json.print(out, new Document(name, backend.description(), machine, dtype.name(), results));
      } else {
        out.println(name + ": " + backend.description());
        table(results).print(out);
        out.flush();
      }
    }
  }

  private ParameterException refused(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private List<Result> measure(Backend backend) {
    List<Result> results = new ArrayList<>();
    long rotation = Bench.rotation(backend.device());
    try (Progress progress = Progress.start("bench", (long) STEPS * shapes.size(), 0)) {
      for (Shape shape : shapes) {
        progress.note(shape.toString());
        try (Bench bench = new Bench(backend, shape, dtype, rotation)) {
          long[] steps = {0};
          List<Bench.Timing> timings =
              bench.run(
                  seconds / shapes.size(),
                  part -> {
                    long reached = (long) (STEPS * part);
                    progress.advance(reached - steps[0]);
                    steps[0] = reached;
                  });
          progress.advance(STEPS - steps[0]);
          results.add(new Result(shape.toString(), timings));
        }
      }
    }
    return results;
  }

  private TextTable table(List<Result> results) {
    TextTable table =
        new TextTable("lllrrrr", "shape", "type", "operation", "time", "GB/s", "of copy", "rounds");
    for (Result r : results) {
      for (Bench.Timing t : r.operations()) {
        table.row(
            r.shape(),
            dtype.name(),
            t.operation(),
            time(t.seconds()),
            String.format(Locale.ROOT, "%.2f", t.gigabytesPerSecond()),
            String.format(Locale.ROOT, "%.0f %%", 100 * t.ofCopy()),
            Integer.toString(t.rounds()));
      }
    }
    return table;
  }

  private static String time(double seconds) {
    return seconds < 1e-3
        ? String.format(Locale.ROOT, "%.2f us", 1e6 * seconds)
        : String.format(Locale.ROOT, "%.2f ms", 1e3 * seconds);
  }
}
