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
    return tests(Build.CHECKED, EngineNorm.class, "-Dshapes=small");
  }

  @TestFactory
  Stream<DynamicTest> largerShapes() throws Exception {
    return tests(Build.PLAIN, EngineNorm.class, "-Dshapes=large");
  }

  @TestFactory
  Stream<DynamicTest> hardValuesAndSizes() throws Exception {
    return tests(Build.PLAIN, EngineNormHard.class);
  }

  private static Stream<DynamicTest> tests(Build build, Class<?> part, String... options)
      throws Exception {
    return OnEmulator.tests(build, Map.of(), List.of(part), options);
  }
}
