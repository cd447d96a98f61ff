package org.fusednorm.cuda;

import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;

/**
 * Our normalization on one GPU as {@code benchmarks/peers/gpu_norm.py} measures the peers: a CUDA
 * graph of calls with operands that take turns, more than four times the L2 in all; a time is the
 * median of its replays, by events of the device, over the number of operands. Every output was
 * poisoned before the replay that is checked.
 *
 * <p>{@code GpuNorm RESULT.json SECONDS TYPE,TYPE SHAPE...}, shapes as {@code NCHW:32x64x56x56};
 * writes rows like those of the peers, in their order, with the prediction of {@link CudaPlan}
 * beside each time. Nothing new is started after so many seconds. Further settings are fusednorm's
 * own, such as {@code -Dfusednorm.autotune=true}; for a profiler {@code
 * -Dfusednorm.bench.once=true} calls each operation once and times nothing.
 */
public final class GpuNorm {
  private GpuNorm() {}

  /** As in the peers' file: without a time there is an error. */
  private record Row(
      String peer,
      String shape,
      String dtype,
      String operation,
      long bytes,
      Double seconds,
      Double gigabytesPerSecond,
      Integer operands,
      Boolean checked,
      List<String> kernels,
      Long predictedBytes,
      Double predictedSeconds,
      String error) {}

  /** Runs; prints a line for each row. */
  public static void main(String[] args) throws IOException {
    if (args.length < 4) {
      System.err.println("usage: GpuNorm RESULT.json SECONDS TYPE,TYPE SHAPE...");
      System.exit(2);
    }
    long end = System.nanoTime() + (long) (1e9 * Double.parseDouble(args[1]));
    Path result = Path.of(args[0]);
    List<Row> rows = new ArrayList<>();
    CudaDevice gpu = CudaDriver.status().devices().stream().findFirst().orElse(null);
    if (gpu == null) {
      throw new IllegalStateException(CudaDriver.status().cause());
    }
    CudaImage image = CudaImage.load().orElseThrow();
    try (GpuClock clock = new GpuClock(gpu)) {
      Backend backend = clock.backend();
      for (int i = 3; i < args.length; i++) {
        for (String type : args[2].split(",")) {
          Shape shape = shape(args[i]);
          DType t = DType.valueOf(type);
          if (System.nanoTime() > end) {
            rows.add(failed(args[i], type, "all", 0, "no time left"));
            continue;
          }
          measure(clock, backend, gpu, image, args[i], shape, t, rows);
          write(result, gpu, backend, rows);
        }
      }
      write(result, gpu, backend, rows);
    }
  }

  /** From text such as {@code NHWC:32x56x56x64}, the extents in memory order. */
  static Shape shape(String text) {
    String[] parts = text.split(":");
    long[] d =
        Arrays.stream(parts[parts.length - 1].split("x")).mapToLong(Long::parseLong).toArray();
    return switch (parts[0] + d.length) {
      case "NCHW4" -> Shape.nchw(d[0], d[1], d[2], d[3]);
      case "NHWC4" -> Shape.nhwc(d[0], d[1], d[2], d[3]);
      case "NC2" -> Shape.nc(d[0], d[1]);
      default ->
          throw new IllegalArgumentException(
              "'" + text + "' is no shape: NCHW:NxCxHxW, NHWC:NxHxWxC or NC:NxC");
    };
  }

  private static Row failed(String shape, String type, String operation, long bytes, String why) {
    return new Row(
        "fusednorm", shape, type, operation, bytes, null, null, null, null, null, null, null, why);
  }

  private static void measure(
      GpuClock clock,
      Backend backend,
      CudaDevice gpu,
      CudaImage image,
      String text,
      Shape shape,
      DType t,
      List<Row> rows) {
    try (GpuNormWork work = new GpuNormWork(clock, backend, gpu, shape, t)) {
      for (String operation : GpuNormWork.OPERATIONS) {
        long bytes = work.bytes(operation);
        Row row;
        try {
          double seconds = work.measure(operation);
          CudaPlan plan =
              List.of(CudaPlan.Operation.values()).stream()
                  .filter(o -> o.toString().equals(operation))
                  .findFirst()
                  .map(o -> CudaPlan.of(o, shape, t, 16, GpuModel.of(gpu), image, null))
                  .orElse(null);
          row =
              new Row(
                  "fusednorm",
                  text,
                  t.name(),
                  operation,
                  bytes,
                  GpuNormWork.ONCE ? null : seconds,
                  GpuNormWork.ONCE ? null : bytes / seconds / 1e9,
                  work.sets(),
                  true,
                  plan == null
                      ? null
                      : plan.launches().stream().map(CudaPlan.Launch::kernel).toList(),
                  plan == null ? null : plan.memoryBytes(),
                  plan == null ? null : plan.seconds(),
                  null);
        } catch (RuntimeException e) {
          row = failed(text, t.name(), operation, bytes, e.toString());
        }
        rows.add(row);
        System.out.printf(
            "%s %s %s: %s%n",
            text,
            t,
            operation,
            row.error != null
                ? row.error
                : GpuNormWork.ONCE ? "done once" : Math.round(row.gigabytesPerSecond) + " GB/s");
      }
    } catch (RuntimeException e) {
      rows.add(failed(text, t.name(), "all", 0, e.toString()));
      System.out.printf("%s %s: %s%n", text, t, e);
    }
  }

  private static void write(Path result, CudaDevice gpu, Backend backend, List<Row> rows)
      throws IOException {
    Map<String, Object> document =
        Map.of(
            "info",
            Map.of(
                "gpu", gpu.name(),
                "architecture", gpu.architecture(),
                "multiprocessors", gpu.multiprocessors(),
                "driver", CudaDriver.status().driverVersion(),
                "backend", backend.description()),
            "rows",
            rows);
    String json = new GsonBuilder().setPrettyPrinting().create().toJson(document);
    Path part = result.resolveSibling("." + result.getFileName() + ".tmp");
    Files.writeString(part, json + "\n");
    Files.move(part, result, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
