package org.fusednorm.cli;

import java.io.IOException;
import java.nio.file.Path;

/** An IDX file that is missing, damaged or does not fit the others; the message names it. */
public class IdxException extends IOException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes an exception whose message begins with the file.
   *
   * @param file the file at fault
   * @param problem what is wrong with it, with the offending value
   */
  public IdxException(Path file, String problem) {
    super(file + ": " + problem);
  }

  /**
   * Makes an exception whose message begins with the file.
   *
   * @param file the file at fault
   * @param problem what is wrong with it, with the offending value
   * @param cause what was thrown while reading it
   */
  public IdxException(Path file, String problem, Throwable cause) {
    super(file + ": " + problem, cause);
  }
}
