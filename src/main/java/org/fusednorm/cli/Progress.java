package org.fusednorm.cli;

import java.io.PrintStream;
import java.time.Duration;
import java.util.Locale;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/**
 * How far long work has come, on standard error: a bar where that is a terminal, whose width the
 * launcher tells, else a line for every tenth of the work.
 */
final class Progress implements AutoCloseable {
  private static final int MOST_COLUMNS = 100;
  private static final int LINES = 10;

  private final String task;
  private final long total;
  private final PrintStream err;
  private final ProgressBar bar;
  private long done;
  private long linesPrinted;
  private String note = "";

  private Progress(String task, long total, long done, PrintStream err, int columns) {
    this.task = task;
    this.total = total;
    this.done = done;
    this.err = err;
    linesPrinted = tenths();
    bar =
        columns > 0
            ? new ProgressBarBuilder()
                .setTaskName(task)
                .setInitialMax(total)
                .startsFrom(done, Duration.ZERO)
                .setStyle(ProgressBarStyle.UNICODE_BLOCK)
                .setUpdateIntervalMillis(200)
                .setConsumer(new ConsoleProgressBarConsumer(err, Math.min(columns, MOST_COLUMNS)))
                .build()
            : null;
  }

  /** Work of {@code total} units, of which {@code done} are done already. */
  static Progress start(String task, long total, long done) {
    int columns = Integer.getInteger("fusednorm.terminal", 0);
    return new Progress(task, total, done, System.err, columns);
  }

  /** For tests: to another stream, a terminal of so many columns or, with 0, none. */
  static Progress start(String task, long total, PrintStream err, int columns) {
    return new Progress(task, total, 0, err, columns);
  }

  /** More units are done. */
  void advance(long units) {
    done += units;
    if (bar != null) {
      bar.stepTo(done);
    } else if (tenths() > linesPrinted) {
      linesPrinted = tenths();
      double percent = 100.0 * done / total;
      err.printf(
          Locale.ROOT, "%s: %d of %d (%.0f %%)%s%n", task, done, total, percent, suffix(", "));
    }
  }

  /** A few words on the state, shown behind the bar or on the next line. */
  void note(String text) {
    note = text;
    if (bar != null) {
      bar.setExtraMessage(suffix(" "));
    }
  }

  private long tenths() {
    return total == 0 ? 0 : done * LINES / total;
  }

  private String suffix(String separator) {
    return note.isEmpty() ? "" : separator + note;
  }

  @Override
  public void close() {
    if (bar != null) {
      bar.close();
    }
  }
}
