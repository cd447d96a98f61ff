package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;

/** Names of the kernels' entries, as {@code cuda/*.cu} declares them. */
final class CudaKernels {
  /** Every entry that the image has for every architecture; {@link SinglePasses} has more. */
  static final List<String> ENTRIES =
      Stream.of(CudaNorm.ENTRIES, CudaMath.ENTRIES).flatMap(List::stream).toList();

  private CudaKernels() {}
}
