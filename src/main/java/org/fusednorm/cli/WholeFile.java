package org.fusednorm.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Files that are there whole or not at all, whatever stops the process. */
final class WholeFile {
  private WholeFile() {}

  /**
   * Writes a file beside its place and moves it there in one step, creating the directory.
   *
   * @throws IOException if it cannot be written; what was there before is untouched
   */
  static void write(Path file, byte[] content) throws IOException {
    Path directory = file.toAbsolutePath().getParent();
    Files.createDirectories(directory);
    Path part = directory.resolve("." + file.getFileName() + "." + ProcessHandle.current().pid());
    try {
      Files.write(part, content);
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }
}
