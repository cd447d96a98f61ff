package org.fusednorm.cuda;

import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The engine's memory, copies, recordings and threads; each part in a JVM on the emulator. */
class CudaEngineTest {
  @TestFactory
  Stream<DynamicTest> memoryAndCopies() throws Exception {
    return OnEmulator.tests(
        Build.CHECKED,
        Map.of("FUSEDNORM_EMULATOR_MEMORY", "64"),
        List.of(EngineMemory.class, EngineRecordings.class),
        "-Dfusednorm.trace=true");
  }

  @TestFactory
  Stream<DynamicTest> devicesAndEntries() throws Exception {
    Assumptions.assumeFalse(Emulator.onDevice(), "needs two devices of a size");
    return OnEmulator.tests(
        Build.PLAIN,
        Map.of("FUSEDNORM_EMULATOR_MEMORY", "64", "FUSEDNORM_EMULATOR_DEVICES", "2"),
        List.of(EngineDevices.class));
  }

  @TestFactory
  Stream<DynamicTest> failures() throws Exception {
    Assumptions.assumeFalse(Emulator.onDevice(), "the machine's own driver fails at its own will");
    return OnEmulator.tests(Build.PLAIN, Map.of(), List.of(EngineFaults.class));
  }

  /** A driver of CUDA 12, which gets the kernels as PTX. */
  @TestFactory
  Stream<DynamicTest> olderDriver() throws Exception {
    Assumptions.assumeFalse(Emulator.onDevice(), "the machine's own driver has one version");
    return OnEmulator.tests(
        Build.PLAIN,
        Map.of("FUSEDNORM_EMULATOR_DRIVER", "12000", "FUSEDNORM_EMULATOR_MEMORY", "64"),
        List.of(EngineRecordings.class));
  }
}
