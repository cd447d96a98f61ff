package org.fusednorm.host;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.testing.ForkedJvm;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every way in which the library can be missing, each in a JVM of its own. */
class NativeLoadingTest {
  private static final String LIBRARY = "org/fusednorm/native/linux-x86_64/libfusednorm.so";

  @TempDir Path folder;

  /** Prints what the library says of itself; an exception would be the exit code 1. */
  static final class Report {
    public static void main(String[] args) {
      System.out.println("available " + NativeLibrary.isAvailable());
      System.out.println("cause " + NativeLibrary.unavailabilityCause());
      System.out.println("cure " + NativeLibrary.unavailabilityCure());
      try {
        System.out.println("version " + NativeLibrary.version());
      } catch (UnsatisfiedLinkError e) {
        System.out.println("refused " + e.getMessage());
      }
    }
  }

  @Test
  void loadsAndLeavesNoFileBehind() throws IOException {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    String output = report(List.of("-Djava.io.tmpdir=" + folder));
    assertTrue(output.startsWith("available true\ncause null\ncure null\nversion "), output);
    assertEquals(List.of(), filesIn(folder));
  }

  @Test
  void offSwitchAsPropertyAndAsVariable() {
    String property = report(List.of("-Dfusednorm.native=off"));
    assertMissing(property, "switched off by -Dfusednorm.native=off", "remove the switch");
    String variable =
        ForkedJvm.start(
                System.getProperty("java.class.path"),
                Map.of("FUSEDNORM_NATIVE", "off"),
                List.of(),
                Report.class)
            .await()
            .output();
    assertMissing(variable, "(or FUSEDNORM_NATIVE)", "remove the switch");
    String unknown = report(List.of("-Dfusednorm.native=of"));
    assertMissing(unknown, "-Dfusednorm.native=of (or FUSEDNORM_NATIVE) is neither", "on or off");
  }

  @Test
  void otherPlatform() {
    String output = report(List.of("-Dos.name=Mac OS X", "-Dos.arch=aarch64"));
    assertMissing(output, "no native library is built for macosx-aarch64", "run on Linux x86-64");
  }

  @Test
  void temporaryFolderThatDoesNotExist() {
    onLinux();
    Path nowhere = folder.resolve("nowhere");
    String output = report(List.of("-Djava.io.tmpdir=" + nowhere));
    assertMissing(output, "private directory in " + nowhere, "set -Djava.io.tmpdir");
  }

  @Test
  void temporaryFolderThatForbidsExecution() throws IOException {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    Path mount = Path.of("/dev/shm");
    boolean forbids =
        Files.readAllLines(Path.of("/proc/mounts")).stream()
            .anyMatch(l -> l.contains(" " + mount + " ") && l.contains("noexec"));
    Assumptions.assumeTrue(forbids && Files.isWritable(mount), mount + " is not mounted noexec");
    String output = report(List.of("-Djava.io.tmpdir=" + mount));
    assertMissing(output, "does not load", "mounted without noexec");
  }

  @Test
  void libraryMissingFromTheClassPath() throws IOException {
    onLinux();
    String output = report(classPath(copyOfClasses()));
    assertMissing(output, LIBRARY + " is not on the class path", "build with g++");
  }

  @Test
  void damagedLibrary() throws IOException {
    onLinux();
    Path classes = copyOfClasses();
    Path library = classes.resolve(LIBRARY);
    Files.createDirectories(library.getParent());
    Files.write(library, new byte[] {0x7f, 'E', 'L', 'F'});
    assertMissing(report(classPath(classes)), "does not load", "use an undamaged jar");
  }

  @Test
  void libraryOfAnotherVersion() throws IOException {
    Required.assume("native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause());
    Path version = folder.resolve("other/org/fusednorm/version.properties");
    Files.createDirectories(version.getParent());
    Files.writeString(version, "version=0.0.7\n");
    String first = folder.resolve("other") + File.pathSeparator;
    String output = report(first + System.getProperty("java.class.path"));
    assertMissing(output, "the classes have version 0.0.7", "keep one fusednorm");
  }

  /** The classes of this package without the library. */
  private Path copyOfClasses() throws IOException {
    Path host = Path.of("org/fusednorm/host");
    Path copy = Files.createDirectories(folder.resolve("classes").resolve(host));
    for (Path file : filesIn(location(NativeLibrary.class).resolve(host))) {
      Files.copy(file, copy.resolve(file.getFileName()));
    }
    return folder.resolve("classes");
  }

  private static String classPath(Path classes) {
    return classes + File.pathSeparator + location(NativeLoadingTest.class);
  }

  /** The folder that a class was loaded from. */
  private static Path location(Class<?> type) {
    try {
      return Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void onLinux() {
    boolean linux =
        System.getProperty("os.name").equals("Linux")
            && System.getProperty("os.arch").equals("amd64");
    Assumptions.assumeTrue(linux, "the library is for Linux x86-64");
  }

  private static String report(List<String> options) {
    return checked(ForkedJvm.run(options, Report.class));
  }

  private static String report(String classPath) {
    return checked(ForkedJvm.start(classPath, Map.of(), List.of(), Report.class).await());
  }

  private static String checked(ForkedJvm.Result result) {
    assertEquals(0, result.exit(), result.output());
    // The JVM has words of its own about a damaged library, ahead of the report.
    return result.output().substring(result.output().indexOf("available "));
  }

  private static void assertMissing(String output, String cause, String cure) {
    String[] lines = output.split("\n");
    assertEquals(4, lines.length, output);
    assertEquals("available false", lines[0], output);
    assertTrue(lines[1].startsWith("cause ") && lines[1].contains(cause), output);
    assertTrue(lines[2].startsWith("cure ") && lines[2].contains(cure), output);
    assertTrue(lines[3].startsWith("refused fusednorm's native library"), output);
    assertTrue(lines[3].contains(cause) && lines[3].contains(cure), output);
  }

  private static List<Path> filesIn(Path directory) throws IOException {
    try (Stream<Path> files = Files.list(directory)) {
      return files.toList();
    }
  }
}
