package org.fusednorm.cuda;

import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** What holds for every backend, for this one: the same tests, in a JVM on the emulator. */
class CudaContractTest {
  @TestFactory
  Stream<DynamicTest> checked() throws Exception {
    return OnEmulator.contracts(
        Build.CHECKED,
        List.of(
            "TensorTest",
            "RecordingTest",
            "ConventionsTest",
            "MemorySafetyTest",
            "MathContractTest"));
  }

  @TestFactory
  Stream<DynamicTest> verbs() throws Exception {
    return OnEmulator.contracts(Build.PLAIN, List.of("NormContractTest"));
  }

  @TestFactory
  Stream<DynamicTest> commands() throws Exception {
    return OnEmulator.contracts(
        Build.PLAIN,
        List.of("cli.VerifyCommandTest#everyBackendHolds", "cli.BenchCommandTest"),
        "-Djava.awt.headless=true");
  }

  @TestFactory
  Stream<DynamicTest> training() throws Exception {
    return OnEmulator.contracts(
        Build.PLAIN,
        List.of(
            "nn.GradientCheckTest",
            "nn.AllocationTest",
            "nn.CheckpointTest",
            "nn.PopulationTest",
            "nn.TrainingTest"));
  }
}
