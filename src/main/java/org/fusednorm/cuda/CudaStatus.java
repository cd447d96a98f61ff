package org.fusednorm.cuda;

import java.util.List;
import org.fusednorm.host.Unavailable;

/**
 * What was found of CUDA in this JVM.
 *
 * @param missing why CUDA cannot be used, or null where it can
 * @param driver the newest CUDA version that the driver supports as it tells it, 13000 for CUDA
 *     13.0; 0 where no driver answered
 * @param devices the GPUs that can run the kernels, empty where CUDA cannot be used
 */
public record CudaStatus(Unavailable missing, int driver, List<CudaDevice> devices) {
  /** Copies the list. */
  public CudaStatus {
    devices = List.copyOf(devices);
  }

  /** The driver's version as people write it, such as {@code 13.0}; null where none answered. */
  public String driverVersion() {
    return driver == 0 ? null : version(driver);
  }

  static String version(int driver) {
    return driver / 1000 + "." + driver % 1000 / 10;
  }

  /** Whether the kernels of this jar can run on a GPU here. */
  public boolean available() {
    return missing == null;
  }

  /** Why CUDA cannot be used, in one sentence, or null where it can. */
  public String cause() {
    return available() ? null : missing.cause();
  }

  /** What would make CUDA usable, in one sentence, or null where it is. */
  public String cure() {
    return available() ? null : missing.cure();
  }
}
