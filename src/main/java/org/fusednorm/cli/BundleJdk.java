package org.fusednorm.cli;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A JDK whose Java can be linked into a bundle.
 *
 * @param home its folder
 * @param version its version, such as 25.0.3
 */
record BundleJdk(Path home, String version) {
  private static final Path INSTALLED = Path.of("/usr/lib/jvm");
  private static final Pattern VERSION = Pattern.compile("(?m)^JAVA_VERSION=\"([^\"]+)\"");

  /** Preferred: the latest with long support, whose builds run on old systems too. */
  private static final int PREFERRED = 25;

  /**
   * What the command line, tests and benchmarks need. Pictures need java.desktop, SVG too; JavaCPP
   * and JMH need jdk.unsupported, JUnit jdk.zipfs; the machine's memory is told by jdk.management.
   */
  private static final List<String> MODULES =
      List.of(
          "java.base",
          "java.desktop",
          "java.logging",
          "java.management",
          "java.xml",
          "jdk.management",
          "jdk.unsupported",
          "jdk.zipfs");

  /** Parts of java.desktop that need an X server or a sound card. */
  private static final List<String> LEFT_OUT =
      List.of("libawt_xawt.so", "libjawt.so", "libjsound.so", "libsplashscreen.so");

  /**
   * The JDK in a folder.
   *
   * @throws UserError if there is none, or one that cannot be linked
   */
  static BundleJdk at(Path home) throws IOException {
    BundleJdk jdk = find(home);
    if (jdk == null) {
      throw new UserError(home + " is no JDK of Linux with jlink and the modules to link");
    }
    return jdk;
  }

  /** A JDK 25 where systems install them, or else the one that runs this. */
  static BundleJdk best() throws IOException {
    if (Files.isDirectory(INSTALLED)) {
      try (DirectoryStream<Path> homes = Files.newDirectoryStream(INSTALLED)) {
        for (Path home : homes) {
          BundleJdk jdk = find(home);
          if (jdk != null && jdk.feature() == PREFERRED) {
            return jdk;
          }
        }
      }
    }
    Path running = Path.of(System.getProperty("java.home"));
    BundleJdk jdk = find(running);
    if (jdk == null) {
      throw new UserError(
          running + " cannot be linked: install a whole JDK 25, or name one: --jdk");
    }
    return jdk;
  }

  private static BundleJdk find(Path home) throws IOException {
    Path release = home.resolve("release");
    if (!Files.isReadable(release) || !Files.isExecutable(home.resolve("bin/jlink"))) {
      return null;
    }
    Matcher version = VERSION.matcher(Files.readString(release));
    if (!version.find()) {
      return null;
    }
    BundleJdk jdk = new BundleJdk(home.toAbsolutePath(), version.group(1));
    return Files.isDirectory(home.resolve("jmods")) || jdk.linksItself() ? jdk : null;
  }

  /** From 24 on a JDK may come without jmods and link from what it runs on. */
  private boolean linksItself() throws IOException {
    return feature() >= 24
        && Tool.run(home, List.of(home.resolve("bin/jlink").toString(), "--help"))
            .contains("Linking from run-time image enabled");
  }

  private int feature() {
    return Integer.parseInt(version.split("[.+-]")[0]);
  }

  /**
   * Links a Java into a folder that does not exist yet. Uncompressed: the archive does it better.
   */
  void link(Path into) throws IOException {
    List<String> command = new ArrayList<>();
    command.add(home.resolve("bin/jlink").toString());
    command.add("--add-modules=" + String.join(",", MODULES));
    command.add("--compress=" + (feature() >= 21 ? "zip-0" : "0"));
    command.add("--exclude-files=" + "**/" + String.join(",**/", LEFT_OUT));
    command.addAll(List.of("--strip-java-debug-attributes", "--no-header-files", "--no-man-pages"));
    command.addAll(List.of("--output", into.toString()));
    Tool.run(home, command);
  }
}
