package org.fusednorm.cuda;

import java.util.List;

/** Names of the kernels' entries, as {@code cuda/*.cu} declares them. */
final class CudaKernels {
  private static final List<String> TYPES = List.of("f32", "f16", "bf16");
  private static final List<String> LAYOUTS = List.of("plane", "row", "mixed", "scalar");

  /** Every entry that is called from Java. */
  static final List<String> ENTRIES =
      LAYOUTS.stream()
          .flatMap(layout -> TYPES.stream().map(type -> "infer_" + layout + "_" + type))
          .toList();

  private CudaKernels() {}
}
