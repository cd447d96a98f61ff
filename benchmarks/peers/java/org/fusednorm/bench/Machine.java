package org.fusednorm.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** What a measurement ran on, for its record. */
final class Machine {
  private Machine() {}

  /** Processor, cores, system and JVM. */
  static Map<String, Object> describe() throws IOException {
    Map<String, Object> machine = new LinkedHashMap<>();
    machine.put("cpu", cpu());
    machine.put("cores", Runtime.getRuntime().availableProcessors());
    machine.put("os", System.getProperty("os.name") + " " + System.getProperty("os.version"));
    machine.put(
        "jvm", System.getProperty("java.vm.name") + " " + System.getProperty("java.vm.version"));
    return machine;
  }

  /** Whether the processor has what oneDNN asks for under the name of AVX-512. */
  static boolean hasAvx512() {
    try {
      return List.of(ofCpu("flags").orElse("").split(" ")).contains("avx512bw");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String cpu() throws IOException {
    String name = ofCpu("model name").orElse(System.getProperty("os.arch"));
    return name + (hasAvx512() ? ", AVX-512" : "");
  }

  private static Optional<String> ofCpu(String key) throws IOException {
    return Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
        .filter(line -> line.startsWith(key))
        .map(line -> line.substring(line.indexOf(':') + 1).strip())
        .findFirst();
  }
}
