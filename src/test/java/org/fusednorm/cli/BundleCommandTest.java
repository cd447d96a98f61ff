package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the command refuses; {@code .ci/bundle-test} makes a bundle and runs it. */
class BundleCommandTest {
  private static final String ROOT = "fusednorm.root";

  @TempDir Path folder;

  @Test
  void archiveOfAnotherKind() {
    Path zip = folder.resolve("b.zip");
    Cli.run("bundle", "--out", zip.toString())
        .assertRefused("fusednorm: --out must end in .tar.xz or .tar.gz, not " + zip);
  }

  @Test
  void backend() {
    Cli.run("bundle", "--backend", "cpu")
        .assertRefused(
            "fusednorm: bundle computes nothing, so --backend cpu is of no use (see fusednorm"
                + " bundle --help)");
  }

  @Test
  void folderWithoutJdk() {
    Cli.run("bundle", "--jdk", folder.toString(), "--out", folder.resolve("b.tar.gz").toString())
        .assertRefused(
            "fusednorm: " + folder + " is no JDK of Linux with jlink and the modules to link");
  }

  @Test
  void withoutSourceTree() {
    needsLinux();
    String before = System.getProperty(ROOT);
    System.setProperty(ROOT, folder.toString());
    try {
      Cli.run("bundle", "--out", folder.resolve("b.tar.gz").toString())
          .assertRefused(
              "fusednorm: bundle needs a source tree, which "
                  + folder
                  + " is not: start it as ./fusednorm bundle there");
    } finally {
      if (before == null) {
        System.clearProperty(ROOT);
      } else {
        System.setProperty(ROOT, before);
      }
    }
  }

  @Test
  void brokenSourceTreeLeavesNothingBehind() throws IOException {
    needsLinux();
    Required.assume("mvn", Tool.isOnPath("mvn"), "no mvn on the PATH");
    Files.writeString(folder.resolve("pom.xml"), "<project/>");
    Path out = folder.resolve("b.tar.gz");
    System.setProperty(ROOT, folder.toString());
    try {
      Cli result = Cli.run("bundle", "--out", out.toString());
      assertEquals(2, result.code(), result.err());
      assertEquals(1, result.err().lines().count(), result.err());
      assertTrue(result.err().startsWith("fusednorm: mvn failed with code 1: "), result.err());
    } finally {
      System.clearProperty(ROOT);
    }
    try (Stream<Path> files = Files.walk(folder)) {
      List<Path> left = files.filter(Files::isRegularFile).toList();
      assertEquals(List.of(folder.resolve("pom.xml")), left);
    }
  }

  private static void needsLinux() {
    boolean linux =
        System.getProperty("os.name").equals("Linux")
            && System.getProperty("os.arch").equals("amd64");
    Required.assume("linux", linux, "a bundle is for Linux x86-64");
  }
}
