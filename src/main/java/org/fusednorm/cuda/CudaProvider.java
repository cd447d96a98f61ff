package org.fusednorm.cuda;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;
import jcuda.driver.CUstream;
import org.fusednorm.Availability;
import org.fusednorm.Availability.Part;
import org.fusednorm.BackendException;
import org.fusednorm.Device;
import org.fusednorm.Engine;
import org.fusednorm.EngineProvider;

/** Tells what was found of CUDA and opens the {@link CudaEngine}. */
public final class CudaProvider implements EngineProvider {
  static final String NAME = "cuda";

  /** For {@link java.util.ServiceLoader}. */
  public CudaProvider() {}

  @Override
  public String name() {
    return NAME;
  }

  @Override
  public int rank() {
    return 20;
  }

  @Override
  public Availability availability() {
    CudaStatus status = CudaDriver.status();
    Availability a =
        status.available()
            ? Availability.available(
                NAME, CudaEngine.describe(status.devices().get(0), status.driverVersion()))
            : Availability.unavailable(NAME, status.cause(), status.cure());
    return a.with(parts(status));
  }

  static List<Part> parts(CudaStatus status) {
    List<Part> parts = new ArrayList<>();
    if (status.driverVersion() != null) {
      parts.add(
          Part.of(
              "driver",
              "CUDA "
                  + status.driverVersion()
                  + (CudaImage.compiledByDriver(status.driver())
                      ? ", compiles the kernels at the first start"
                      : "")));
    }
    for (int i = 0; i < status.devices().size(); i++) {
      CudaDevice d = status.devices().get(i);
      String text =
          String.format(
              Locale.ROOT,
              "%s, sm_%d, %.1f GiB",
              d.name(),
              d.architecture(),
              d.memoryBytes() / (double) (1 << 30));
      // Devices that cannot run the kernels do not count for us, but for the driver.
      String other = d.ordinal() == i ? "" : ", number " + d.ordinal() + " for the driver";
      parts.add(Part.of("device " + i, text + other));
    }
    parts.add(image());
    if (status.available()) {
      parts.add(CublasLibrary.find().part());
    }
    return parts;
  }

  private static Part image() {
    try {
      Optional<CudaImage> image = CudaImage.load();
      return image.isPresent()
          ? Part.of("kernels", describe(image.get()))
          : Part.missing(
              "kernels",
              "the jar was built without the CUDA compiler",
              "use the released jar, or build with CUDA 13.0's nvcc installed");
    } catch (IOException e) {
      return Part.missing("kernels", e.getMessage(), "use an undamaged jar");
    }
  }

  private static String describe(CudaImage image) {
    return image.entries().size()
        + " entries for "
        + image.architectures().stream().map(a -> "sm_" + a).collect(Collectors.joining(", "))
        + image.ptx().stream().map(a -> ", PTX from sm_" + a).collect(Collectors.joining());
  }

  @Override
  public Engine open(int index) {
    return open(index, null);
  }

  @Override
  public Engine openOnStream(int index, long stream) {
    return open(index, Handles.stream(stream));
  }

  private Engine open(int index, CUstream stream) {
    CudaStatus status = CudaDriver.status();
    if (!status.available()) {
      throw new BackendException(NAME + " is unavailable: " + status.cause());
    }
    if (index >= status.devices().size()) {
      throw new BackendException(
          "there is no " + NAME + ":" + index + " among " + status.devices().size() + " GPU(s)");
    }
    try {
      ByteBuffer image = CudaImage.load().orElseThrow().bytesFor(status.driver());
      return CudaEngine.open(
          new Device(NAME, index),
          status.devices().get(index),
          status.driverVersion(),
          image,
          stream);
    } catch (IOException e) {
      throw new BackendException(e.getMessage(), e);
    }
  }
}
