package org.fusednorm.cli;

import java.awt.Font;
import java.awt.FontMetrics;
import java.awt.Graphics;
import java.awt.font.FontRenderContext;
import java.awt.font.LineMetrics;
import java.awt.geom.Rectangle2D;

/**
 * A sans-serif font known by its widths alone. AWT measures text with the fonts of the machine and
 * throws where there are none; measured by this table, a figure can be laid out on any JVM and is
 * the same on all of them. The viewer of the SVG supplies the glyphs.
 */
final class PlainFont extends Font {
  private static final long serialVersionUID = 1;

  /** Advance widths of Helvetica, in thousandths of the size, for U+0020 to U+007E. */
  private static final short[] WIDTHS = {
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584
  };

  private static final double OTHER_WIDTH = 0.556;
  private static final double SUPERSCRIPT_WIDTH = 0.35;
  private static final double BOLD_FACTOR = 1.06;
  private static final double ASCENT = 0.91;
  private static final double DESCENT = 0.21;

  PlainFont(int style, int size) {
    super(SANS_SERIF, style, size);
  }

  double width(CharSequence text) {
    double width = text.chars().mapToDouble(PlainFont::advance).sum();
    return width * size * (isBold() ? BOLD_FACTOR : 1);
  }

  private static double advance(int c) {
    if (c >= ' ' && c < ' ' + WIDTHS.length) {
      return WIDTHS[c - ' '] / 1000.0;
    }
    boolean superscript = c >= 0x2070 && c <= 0x207f || c == 0xb9 || c == 0xb2 || c == 0xb3;
    return superscript ? SUPERSCRIPT_WIDTH : OTHER_WIDTH;
  }

  FontMetrics metrics() {
    return new Metrics(this);
  }

  @Override
  public Rectangle2D getStringBounds(String text, FontRenderContext context) {
    return new Rectangle2D.Double(0, -ASCENT * size, width(text), (ASCENT + DESCENT) * size);
  }

  @Override
  public LineMetrics getLineMetrics(String text, FontRenderContext context) {
    return new Line(text.length(), size);
  }

  private static final class Metrics extends FontMetrics {
    private static final long serialVersionUID = 1;

    Metrics(PlainFont font) {
      super(font);
    }

    @Override
    public int getAscent() {
      return (int) Math.ceil(ASCENT * font.getSize());
    }

    @Override
    public int getDescent() {
      return (int) Math.ceil(DESCENT * font.getSize());
    }

    @Override
    public int stringWidth(String text) {
      return (int) Math.ceil(((PlainFont) font).width(text));
    }

    @Override
    public LineMetrics getLineMetrics(String text, Graphics context) {
      return font.getLineMetrics(text, null);
    }
  }

  private static final class Line extends LineMetrics {
    private final int length;
    private final float size;

    Line(int length, float size) {
      this.length = length;
      this.size = size;
    }

    @Override
    public int getNumChars() {
      return length;
    }

    @Override
    public float getAscent() {
      return (float) ASCENT * size;
    }

    @Override
    public float getDescent() {
      return (float) DESCENT * size;
    }

    @Override
    public float getLeading() {
      return 0;
    }

    @Override
    public float getHeight() {
      return getAscent() + getDescent();
    }

    @Override
    public int getBaselineIndex() {
      return ROMAN_BASELINE;
    }

    @Override
    public float[] getBaselineOffsets() {
      return new float[] {0, -getAscent() / 2, -getAscent()};
    }

    @Override
    public float getStrikethroughOffset() {
      return -getAscent() / 3;
    }

    @Override
    public float getStrikethroughThickness() {
      return size / 20;
    }

    @Override
    public float getUnderlineOffset() {
      return size / 10;
    }

    @Override
    public float getUnderlineThickness() {
      return size / 20;
    }
  }
}
