package org.fusednorm.cli;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Shape;
import java.awt.geom.AffineTransform;
import java.awt.geom.PathIterator;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.LinkedHashMap;
import java.util.Map;

/** The elements of one SVG file, in the order in which {@link SvgGraphics} draws them. */
final class SvgWriter {
  private static final String FONT =
      "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif";

  private final Map<String, String> clips = new LinkedHashMap<>();
  private final StringBuilder body = new StringBuilder();

  void area(Shape shape, Color color, Shape clip) {
    String data = path(shape);
    if (!data.isEmpty() && color.getAlpha() > 0) {
      body.append("<path d=\"").append(data).append('"').append(color("fill", color));
      body.append(clip(clip)).append("/>\n");
    }
  }

  void line(Shape shape, BasicStroke stroke, double scale, Color color, Shape clip) {
    String data = path(shape);
    if (data.isEmpty() || color.getAlpha() == 0) {
      return;
    }
    body.append("<path fill=\"none\" d=\"").append(data).append('"').append(color("stroke", color));
    attribute("stroke-width", number(stroke.getLineWidth() * scale));
    if (stroke.getEndCap() != BasicStroke.CAP_BUTT) {
      attribute("stroke-linecap", stroke.getEndCap() == BasicStroke.CAP_ROUND ? "round" : "square");
    }
    if (stroke.getLineJoin() != BasicStroke.JOIN_MITER) {
      attribute(
          "stroke-linejoin", stroke.getLineJoin() == BasicStroke.JOIN_ROUND ? "round" : "bevel");
    }
    if (stroke.getDashArray() != null) {
      StringBuilder dashes = new StringBuilder();
      for (float dash : stroke.getDashArray()) {
        dashes.append(dashes.isEmpty() ? "" : " ").append(number(dash * scale));
      }
      attribute("stroke-dasharray", dashes.toString());
    }
    body.append(clip(clip)).append("/>\n");
  }

  /** Text of a fixed length: whatever font the viewer has, labels stay within their places. */
  void text(
      String text,
      double x,
      double y,
      AffineTransform transform,
      PlainFont font,
      Color color,
      Shape clip) {
    // A clip on the text itself would be turned and moved along with it.
    body.append("<g").append(clip(clip)).append("><text");
    double[] m = new double[6];
    transform.getMatrix(m);
    boolean moved = m[0] == 1 && m[1] == 0 && m[2] == 0 && m[3] == 1;
    if (!moved) {
      attribute(
          "transform",
          "matrix("
              + exact(m[0])
              + " "
              + exact(m[1])
              + " "
              + exact(m[2])
              + " "
              + exact(m[3])
              + " "
              + number(m[4])
              + " "
              + number(m[5])
              + ")");
    }
    attribute("x", number(moved ? x + m[4] : x));
    attribute("y", number(moved ? y + m[5] : y));
    attribute("font-size", String.valueOf(font.getSize()));
    if (font.isBold()) {
      attribute("font-weight", "bold");
    }
    attribute("textLength", number(font.width(text)));
    attribute("lengthAdjust", "spacingAndGlyphs");
    body.append(color("fill", color)).append('>').append(escape(text)).append("</text></g>\n");
  }

  /** The whole file. */
  String document(int width, int height, String title, String description) {
    StringBuilder svg = new StringBuilder("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    svg.append("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width);
    svg.append("\" height=\"" + height + "\" viewBox=\"0 0 " + width + " " + height);
    svg.append("\" role=\"img\" aria-labelledby=\"title description\"\n font-family=\"");
    svg.append(FONT).append("\">\n<title id=\"title\">").append(escape(title));
    svg.append("</title>\n<desc id=\"description\">").append(escape(description));
    svg.append("</desc>\n<defs>\n");
    clips.forEach(
        (data, id) ->
            svg.append("<clipPath id=\"" + id + "\"><path d=\"" + data + "\"/></clipPath>\n"));
    return svg.append("</defs>\n").append(body).append("</svg>\n").toString();
  }

  /** Text for XML and HTML, in an element or a quoted attribute. */
  static String escape(String text) {
    StringBuilder escaped = new StringBuilder(text.length() + 16);
    text.codePoints()
        .forEach(
            c -> {
              switch (c) {
                case '&' -> escaped.append("&amp;");
                case '<' -> escaped.append("&lt;");
                case '>' -> escaped.append("&gt;");
                case '"' -> escaped.append("&quot;");
                case '\'' -> escaped.append("&#39;");
                // XML has no way to write a control character or half a surrogate pair.
                default ->
                    escaped.appendCodePoint(
                        c < ' ' && c != '\n' && c != '\t'
                                || c >= 0xd800 && c < 0xe000
                                || (c & 0xfffe) == 0xfffe
                            ? 0xfffd
                            : c);
              }
            });
    return escaped.toString();
  }

  private void attribute(String name, String value) {
    body.append(' ').append(name).append("=\"").append(value).append('"');
  }

  private static String color(String attribute, Color color) {
    String rgb = String.format(" %s=\"#%06x\"", attribute, color.getRGB() & 0xffffff);
    return color.getAlpha() == 255
        ? rgb
        : rgb + " " + attribute + "-opacity=\"" + number(color.getAlpha() / 255.0) + "\"";
  }

  private String clip(Shape clip) {
    if (clip == null) {
      return "";
    }
    String id = clips.computeIfAbsent(path(clip), data -> "clip" + clips.size());
    return " clip-path=\"url(#" + id + ")\"";
  }

  private static String path(Shape shape) {
    StringBuilder data = new StringBuilder();
    double[] p = new double[6];
    for (PathIterator i = shape.getPathIterator(null); !i.isDone(); i.next()) {
      int type = i.currentSegment(p);
      int points =
          switch (type) {
            case PathIterator.SEG_MOVETO, PathIterator.SEG_LINETO -> 1;
            case PathIterator.SEG_QUADTO -> 2;
            case PathIterator.SEG_CUBICTO -> 3;
            default -> 0;
          };
      data.append("MLQCZ".charAt(type));
      for (int k = 0; k < 2 * points; k++) {
        data.append(k == 0 ? "" : " ").append(number(p[k]));
      }
    }
    return data.toString();
  }

  /** Hundredths of a pixel are finer than any screen shows. */
  private static String number(double value) {
    return decimal(value, 2);
  }

  private static String exact(double value) {
    return decimal(value, 6);
  }

  private static String decimal(double value, int digits) {
    BigDecimal rounded = BigDecimal.valueOf(value).setScale(digits, RoundingMode.HALF_EVEN);
    return rounded.signum() == 0 ? "0" : rounded.stripTrailingZeros().toPlainString();
  }
}
