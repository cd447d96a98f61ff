package org.fusednorm.host;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.stream.Stream;

/**
 * Temporary directories that no other user can read or write, for native libraries on their way
 * from the class path to the loader. Internal.
 *
 * <p>A name of its own for every JVM means that no JVM ever sees another's half-written file.
 */
public final class PrivateFiles {
  private PrivateFiles() {}

  /**
   * Makes a new directory with permissions 700 below {@code java.io.tmpdir}.
   *
   * @throws IOException naming that directory, where none can be made in it
   */
  public static Path directory() throws IOException {
    // Files on its own would take the value from the start of the JVM.
    Path parent = Path.of(System.getProperty("java.io.tmpdir"));
    try {
      return Files.createTempDirectory(
          parent,
          "fusednorm-",
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } catch (IOException | UnsupportedOperationException e) {
      throw new IOException("cannot make a private directory in " + parent + ": " + e, e);
    }
  }

  /**
   * Copies a resource into a file of a {@link #directory()}.
   *
   * @return the file, or null where the class path has no such resource
   * @throws IOException if reading or writing fails
   */
  public static Path extract(ClassLoader loader, String resource, Path directory)
      throws IOException {
    try (InputStream in = loader.getResourceAsStream(resource)) {
      if (in == null) {
        return null;
      }
      Path file = directory.resolve(resource.substring(resource.lastIndexOf('/') + 1));
      Files.copy(in, file);
      return file;
    }
  }

  /**
   * Deletes a {@link #directory()} and the files in it. On Linux a library that is loaded stays so.
   * A file that cannot be deleted harms nobody: it is logged and left behind.
   */
  public static void discard(Path directory) {
    try (Stream<Path> files = Files.list(directory)) {
      for (Path file : (Iterable<Path>) files::iterator) {
        Files.delete(file);
      }
      Files.delete(directory);
    } catch (IOException e) {
      System.getLogger(PrivateFiles.class.getName())
          .log(System.Logger.Level.WARNING, "cannot delete " + directory, e);
    }
  }
}
