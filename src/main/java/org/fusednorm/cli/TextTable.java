package org.fusednorm.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;

/** A table for a terminal: columns as wide as they must be, two blanks apart. */
final class TextTable {
  private final String alignment;
  private final List<String[]> rows = new ArrayList<>();

  /**
   * @param alignment a letter for each column, {@code l} for left and {@code r} for right
   * @param head the titles of the columns
   */
  TextTable(String alignment, String... head) {
    this.alignment = alignment;
    row(head);
  }

  void row(String... cells) {
    if (cells.length != alignment.length()) {
      throw new IllegalArgumentException(
          cells.length + " cells for " + alignment.length() + " columns");
    }
    rows.add(cells);
  }

  void print(PrintWriter out) {
    int[] widths = new int[alignment.length()];
    for (String[] row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row[i].length());
      }
    }
    for (String[] row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        String blanks = " ".repeat(widths[i] - row[i].length());
        boolean left = alignment.charAt(i) == 'l';
        line.append(left ? row[i] + blanks : blanks + row[i]).append("  ");
      }
      out.println(line.toString().stripTrailing());
    }
  }
}
