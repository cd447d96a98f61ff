package org.fusednorm.cuda;

import java.util.List;
import org.fusednorm.host.Unavailable;

/**
 * What was found of CUDA in this JVM.
 *
 * @param missing why CUDA cannot be used, or null where it can
 * @param driverVersion the newest CUDA version that the driver supports, such as {@code 13.0}, or
 *     null where no driver answered
 * @param devices the GPUs that can run the kernels, empty where CUDA cannot be used
 */
public record CudaStatus(Unavailable missing, String driverVersion, List<CudaDevice> devices) {
  /** Copies the list. */
  public CudaStatus {
    devices = List.copyOf(devices);
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
