package org.fusednorm.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** What shared libraries ask of the system that loads them. Linux only. */
final class SharedLibraries {
  /** The system's own; every Linux that runs these libraries at all has them. */
  private static final Pattern GLIBC =
      Pattern.compile("(ld-linux-x86-64|lib(c|m|dl|pthread|rt|resolv|util))\\.so\\.\\d+");

  private static final Pattern RESOLVED = Pattern.compile("(?m)^\\s*(\\S+) => (/\\S+) \\(");
  private static final Pattern VERSION = Pattern.compile("GLIBC_2\\.(\\d{1,3})");

  private SharedLibraries() {}

  /** Whether a file of this name is a shared library. */
  static boolean isName(String name) {
    return name.matches(".*\\.so(\\.\\d+)*");
  }

  /**
   * Copies what the libraries in some folders were linked to on this machine, glibc left out.
   *
   * @param inside what lies in here is not copied
   * @param into a new folder
   */
  static void copyNeeded(List<Path> folders, Path inside, Path into) throws IOException {
    List<String> command = new ArrayList<>(List.of("ldd"));
    for (Path from : folders) {
      in(from).forEach(file -> command.add(file.toString()));
    }
    Map<String, Path> needed = new TreeMap<>();
    Matcher resolved = RESOLVED.matcher(Tool.run(inside, command));
    while (resolved.find()) {
      Path library = Path.of(resolved.group(2)).normalize();
      if (!library.startsWith(inside) && !GLIBC.matcher(resolved.group(1)).matches()) {
        needed.put(resolved.group(1), library);
      }
    }
    Files.createDirectories(into);
    for (Map.Entry<String, Path> e : needed.entrySet()) {
      Files.copy(e.getValue(), into.resolve(e.getKey()));
    }
  }

  /** The newest version of glibc that the libraries in a folder ask for by its symbols. */
  static String glibc(Path folder, Predicate<Path> which) throws IOException {
    int newest = 0;
    for (Path library : in(folder)) {
      if (which.test(library)) {
        // One character for each byte, so that a pattern can search it.
        Matcher m =
            VERSION.matcher(new String(Files.readAllBytes(library), StandardCharsets.ISO_8859_1));
        while (m.find()) {
          newest = Math.max(newest, Integer.parseInt(m.group(1)));
        }
      }
    }
    return "2." + newest;
  }

  private static List<Path> in(Path folder) throws IOException {
    try (Stream<Path> files = Files.walk(folder)) {
      return files.filter(f -> isName(f.getFileName().toString())).sorted().toList();
    }
  }
}
