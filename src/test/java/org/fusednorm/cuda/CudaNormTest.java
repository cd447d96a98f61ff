package org.fusednorm.cuda;

import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The normalization kernels through the engine, each group in a JVM on the emulator. */
class CudaNormTest {
  @TestFactory
  Stream<DynamicTest> smallShapesUnderSeveralSchedules() throws Exception {
    return tests(Build.CHECKED, "-Dshapes=small");
  }

  @TestFactory
  Stream<DynamicTest> largerShapes() throws Exception {
    return tests(Build.PLAIN, "-Dshapes=large");
  }

  private static Stream<DynamicTest> tests(Build build, String... options) throws Exception {
    return OnEmulator.tests(build, Map.of(), List.of(EngineNorm.class), options);
  }
}
