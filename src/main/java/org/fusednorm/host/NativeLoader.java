package org.fusednorm.host;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Properties;

/** Brings the JNI library from the class path into the JVM, or says why that is not possible. */
final class NativeLoader {
  private static final String PLATFORM = "linux-x86_64";
  private static final String LIBRARY = "org/fusednorm/native/" + PLATFORM + "/libfusednorm.so";
  private static final String VERSION = "org/fusednorm/version.properties";
  private static final String OTHER_TMPDIR =
      "set -Djava.io.tmpdir to a writable directory on a file system mounted without noexec";

  private NativeLoader() {}

  /** Loads the library; null where that worked. Never throws. */
  static Unavailable load() {
    Unavailable off = Settings.offSwitch("fusednorm.native");
    if (off != null) {
      return off;
    }
    String platform = platform();
    if (!platform.equals(PLATFORM)) {
      return new Unavailable(
          "no native library is built for " + platform + ", only for " + PLATFORM,
          "run on Linux x86-64; elsewhere plain Java does the work");
    }
    try {
      Unavailable missing = loadResource();
      return missing != null ? missing : compareVersions();
    } catch (IOException e) {
      return new Unavailable(e.getMessage(), OTHER_TMPDIR, e);
    }
  }

  /** The platform of this JVM in the spelling of the resource's folder. */
  private static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT).replace(" ", "");
    String arch = System.getProperty("os.arch");
    return os + "-" + (arch.equals("amd64") ? "x86_64" : arch);
  }

  private static Unavailable loadResource() throws IOException {
    Path directory = PrivateFiles.directory();
    try {
      Path file = PrivateFiles.extract(NativeLoader.class.getClassLoader(), LIBRARY, directory);
      if (file == null) {
        return new Unavailable(
            LIBRARY + " is not on the class path",
            "use the released jar, or build with g++ and make installed");
      }
      System.load(file.toString());
      return null;
    } catch (UnsatisfiedLinkError e) {
      return new Unavailable("the native library does not load: " + e.getMessage(), cure(e), e);
    } finally {
      PrivateFiles.discard(directory);
    }
  }

  /** The loader's own words tell a directory that forbids execution from an older glibc. */
  private static String cure(UnsatisfiedLinkError error) {
    String text = String.valueOf(error.getMessage());
    if (text.contains("failed to map segment") || text.contains("Operation not permitted")) {
      return OTHER_TMPDIR;
    }
    if (text.contains("GLIBC") || text.contains("libc.musl") || text.contains("ld-linux")) {
      return "run on a Linux with glibc 2.17 or newer";
    }
    return "use an undamaged jar on a Linux with glibc 2.17 or newer";
  }

  /** A library from another build would answer to the same names with other meanings. */
  private static Unavailable compareVersions() throws IOException {
    String built = NativeLibrary.version0();
    String expected = jarVersion();
    if (built.equals(expected)) {
      return null;
    }
    return new Unavailable(
        "the native library has version " + built + ", the classes have version " + expected,
        "keep one fusednorm on the class path, or rebuild with mvn clean package");
  }

  private static String jarVersion() throws IOException {
    try (InputStream in = NativeLoader.class.getClassLoader().getResourceAsStream(VERSION)) {
      if (in == null) {
        throw new IOException(VERSION + " is not on the class path");
      }
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty("version");
    }
  }
}
