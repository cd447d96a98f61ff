package org.fusednorm.cuda;

import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Plans and what becomes of them, in JVMs on emulated GPUs with and without clusters. */
class CudaPlansTest {
  @TestFactory
  Stream<DynamicTest> onAGpuWithClusters() throws Exception {
    return OnEmulator.tests(Build.PLAIN, Map.of(), List.of(EnginePlans.class));
  }
}
