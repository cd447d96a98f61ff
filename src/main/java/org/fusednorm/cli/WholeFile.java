package org.fusednorm.cli;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Files that are there whole or not at all, whatever stops the process. */
final class WholeFile {
  private static final String PREFIX = ".fusednorm-";
  private static final String SUFFIX = ".tmp";

  private WholeFile() {}

  /**
   * Writes a file beside its place and moves it there in one step, creating the directory.
   *
   * @throws IOException if it cannot be written; what was there before is untouched
   */
  static void write(Path file, byte[] content) throws IOException {
    Path part = unfinished(file);
    try {
      Files.write(part, content);
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }

  /**
   * Where to write what is moved to {@code file} when it is whole; creates the directory.
   *
   * @throws IOException if that is not possible
   */
  static Path unfinished(Path file) throws IOException {
    Path directory = Files.createDirectories(file.toAbsolutePath().getParent());
    String name = file.getFileName() + "-" + ProcessHandle.current().pid();
    return directory.resolve(PREFIX + name + SUFFIX);
  }

  /**
   * Deletes what killed processes had begun to write into a directory: by {@link #write}, or
   * checkpoints, whose parts have names of the same form.
   *
   * @throws IOException if the file system refuses
   */
  static void deleteUnfinished(Path directory) throws IOException {
    try (DirectoryStream<Path> parts = Files.newDirectoryStream(directory, PREFIX + "*" + SUFFIX)) {
      for (Path part : parts) {
        Files.deleteIfExists(part);
      }
    }
  }
}
