package org.fusednorm.cli;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Where this JVM runs.
 *
 * @param os name and version of the operating system
 * @param arch architecture of the processor, as Java spells it
 * @param processor model, or the architecture where the system does not tell
 * @param instructionSets the vector instructions of the processor that matter here, widest last;
 *     empty where the system does not tell
 * @param cores processors that the JVM may use
 * @param memoryBytes memory that the JVM may use, on and off its heap; 0 where Java does not tell
 * @param heapBytes the largest heap of this JVM
 */
record Machine(
    String os,
    String arch,
    String processor,
    List<String> instructionSets,
    int cores,
    long memoryBytes,
    long heapBytes) {
  private static final Path PROCESSORS = Path.of("/proc/cpuinfo");
  private static final List<String> VECTOR_FLAGS =
      List.of("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_bf16", "avx512_fp16");

  static Machine here() {
    List<String> told = processors();
    String arch = System.getProperty("os.arch");
    Set<String> flags = new HashSet<>(Arrays.asList(field(told, "flags", "").split(" ")));
    Runtime runtime = Runtime.getRuntime();
    return new Machine(
        System.getProperty("os.name") + " " + System.getProperty("os.version"),
        arch,
        field(told, "model name", arch),
        VECTOR_FLAGS.stream().filter(flags::contains).toList(),
        runtime.availableProcessors(),
        memory(),
        runtime.maxMemory());
  }

  /** Linux tells; on other systems there is no such file. */
  private static List<String> processors() {
    try {
      return Files.isReadable(PROCESSORS) ? Files.readAllLines(PROCESSORS) : List.of();
    } catch (IOException e) {
      return List.of();
    }
  }

  private static String field(List<String> lines, String name, String otherwise) {
    return lines.stream()
        .filter(line -> line.startsWith(name) && line.indexOf(':') > 0)
        .map(line -> line.substring(line.indexOf(':') + 1).strip())
        .findFirst()
        .orElse(otherwise);
  }

  private static long memory() {
    return ManagementFactory.getOperatingSystemMXBean()
            instanceof com.sun.management.OperatingSystemMXBean system
        ? system.getTotalMemorySize()
        : 0;
  }
}
