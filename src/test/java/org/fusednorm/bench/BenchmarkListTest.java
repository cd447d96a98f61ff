package org.fusednorm.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.openjdk.jmh.runner.BenchmarkList;
import org.openjdk.jmh.runner.BenchmarkListEntry;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Benchmarks are found through a file that an annotation processor writes, or fails to write. */
class BenchmarkListTest {
  @Test
  void jmhFindsTheBenchmarks() {
    SortedSet<String> names = new TreeSet<>();
    for (BenchmarkListEntry entry :
        BenchmarkList.defaultList()
            .getAll(
                OutputFormatFactory.createFormatInstance(System.out, VerboseMode.SILENT),
                List.of())) {
      names.add(entry.getUsername());
    }
    Set<String> expected =
        new TreeSet<>(
            Set.of(
                "org.fusednorm.bench.CopyBandwidth.copy",
                "org.fusednorm.bench.FusednormNorm.call",
                "org.fusednorm.bench.LimitNorm.call",
                "org.fusednorm.bench.PlainJavaNorm.call",
                "org.fusednorm.bench.TrainingStepBenchmark.step",
                "org.fusednorm.cuda.LaunchBenchmark.bare",
                "org.fusednorm.cuda.LaunchBenchmark.verb"));
    // With -Ppeers.
    for (String peer : List.of("Nd4jNorm", "OneDnnNorm", "PyTorchNorm")) {
      if (BenchmarkListTest.class.getResource(peer + ".class") != null) {
        expected.add("org.fusednorm.bench." + peer + ".call");
      }
    }
    assertEquals(expected, names);
  }
}
