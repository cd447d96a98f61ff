package org.fusednorm.cuda;

/** The CUDA driver of this machine. */
public final class CudaDriver {
  private CudaDriver() {}

  private static final class Holder {
    static final CudaStatus STATUS = new CudaProbe().run();
  }

  /**
   * What was found of CUDA: the driver and its version, the GPUs that can run this jar's kernels,
   * or the first step that failed with its cause and cure. Found out once, at the first call; never
   * throws.
   */
  public static CudaStatus status() {
    return Holder.STATUS;
  }
}
