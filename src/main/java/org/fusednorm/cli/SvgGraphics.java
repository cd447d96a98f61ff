package org.fusednorm.cli;

import java.awt.AlphaComposite;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Composite;
import java.awt.Font;
import java.awt.FontMetrics;
import java.awt.Graphics;
import java.awt.Paint;
import java.awt.Rectangle;
import java.awt.RenderingHints;
import java.awt.Shape;
import java.awt.Stroke;
import java.awt.font.FontRenderContext;
import java.awt.geom.AffineTransform;
import java.awt.geom.Area;
import java.util.Map;

/**
 * A drawing surface whose picture is the text of an SVG file. It needs no font of the machine (see
 * {@link PlainFont}) and no display. It draws what charts are made of, that is shapes and text in
 * plain colors; images and glyph vectors are refused.
 */
final class SvgGraphics extends ShapeGraphics {
  private final SvgWriter out;
  private AffineTransform transform = new AffineTransform();
  private Shape deviceClip;
  private Paint paint = Color.BLACK;
  private Color background = Color.WHITE;
  private Stroke stroke = new BasicStroke(1);
  private Font font = new PlainFont(Font.PLAIN, 12);
  private Composite composite = AlphaComposite.SrcOver;
  private RenderingHints hints = new RenderingHints(Map.of());

  SvgGraphics(SvgWriter out) {
    this.out = out;
  }

  @Override
  public Graphics create() {
    SvgGraphics copy = new SvgGraphics(out);
    copy.transform = new AffineTransform(transform);
    copy.deviceClip = deviceClip;
    copy.paint = paint;
    copy.background = background;
    copy.stroke = stroke;
    copy.font = font;
    copy.composite = composite;
    copy.hints = (RenderingHints) hints.clone();
    return copy;
  }

  @Override
  public void dispose() {}

  // Shapes and text

  @Override
  public void draw(Shape shape) {
    if (stroke instanceof BasicStroke line) {
      double scale = Math.sqrt(Math.abs(transform.getDeterminant()));
      out.line(transform.createTransformedShape(shape), line, scale, color(), deviceClip);
    } else {
      fill(stroke.createStrokedShape(shape));
    }
  }

  @Override
  public void fill(Shape shape) {
    out.area(transform.createTransformedShape(shape), color(), deviceClip);
  }

  @Override
  public void drawString(String text, float x, float y) {
    if (!text.isBlank()) {
      out.text(text, x, y, transform, (PlainFont) font, color(), deviceClip);
    }
  }

  private Color color() {
    if (!(paint instanceof Color color)) {
      throw refused("paint " + paint);
    }
    float alpha = composite instanceof AlphaComposite a ? a.getAlpha() : 1;
    return new Color(
        color.getRed(), color.getGreen(), color.getBlue(), Math.round(color.getAlpha() * alpha));
  }

  @Override
  public void clearRect(int x, int y, int width, int height) {
    Paint before = paint;
    paint = background;
    fillRect(x, y, width, height);
    paint = before;
  }

  @Override
  public boolean hit(Rectangle area, Shape shape, boolean onStroke) {
    Shape hit = onStroke ? stroke.createStrokedShape(shape) : shape;
    return transform.createTransformedShape(hit).intersects(area);
  }

  // Clip, which is kept in the coordinates of the picture

  @Override
  public Shape getClip() {
    return deviceClip == null ? null : inverse().createTransformedShape(deviceClip);
  }

  @Override
  public Rectangle getClipBounds() {
    return deviceClip == null ? null : getClip().getBounds();
  }

  @Override
  public void setClip(Shape clip) {
    deviceClip = clip == null ? null : transform.createTransformedShape(clip);
  }

  @Override
  public void clip(Shape shape) {
    if (deviceClip == null) {
      setClip(shape);
    } else {
      Area area = new Area(deviceClip);
      area.intersect(new Area(transform.createTransformedShape(shape)));
      deviceClip = area;
    }
  }

  private AffineTransform inverse() {
    try {
      return transform.createInverse();
    } catch (java.awt.geom.NoninvertibleTransformException e) {
      throw new IllegalStateException("the transform " + transform + " has no inverse", e);
    }
  }

  // Transform

  @Override
  public void translate(double x, double y) {
    transform.translate(x, y);
  }

  @Override
  public void rotate(double angle) {
    transform.rotate(angle);
  }

  @Override
  public void rotate(double angle, double x, double y) {
    transform.rotate(angle, x, y);
  }

  @Override
  public void scale(double x, double y) {
    transform.scale(x, y);
  }

  @Override
  public void shear(double x, double y) {
    transform.shear(x, y);
  }

  @Override
  public void transform(AffineTransform other) {
    transform.concatenate(other);
  }

  @Override
  public void setTransform(AffineTransform other) {
    transform = new AffineTransform(other);
  }

  @Override
  public AffineTransform getTransform() {
    return new AffineTransform(transform);
  }

  // State

  @Override
  public Color getColor() {
    return paint instanceof Color color ? color : null;
  }

  @Override
  public Paint getPaint() {
    return paint;
  }

  @Override
  public void setPaint(Paint value) {
    if (value != null) {
      paint = value;
    }
  }

  @Override
  public Color getBackground() {
    return background;
  }

  @Override
  public void setBackground(Color color) {
    background = color;
  }

  @Override
  public Stroke getStroke() {
    return stroke;
  }

  @Override
  public void setStroke(Stroke value) {
    stroke = value;
  }

  @Override
  public Font getFont() {
    return font;
  }

  @Override
  public void setFont(Font value) {
    if (value != null) {
      font = plain(value);
    }
  }

  @Override
  public FontMetrics getFontMetrics(Font value) {
    return plain(value).metrics();
  }

  private static PlainFont plain(Font font) {
    return font instanceof PlainFont plain ? plain : new PlainFont(font.getStyle(), font.getSize());
  }

  @Override
  public FontRenderContext getFontRenderContext() {
    return new FontRenderContext(null, true, true);
  }

  @Override
  public Composite getComposite() {
    return composite;
  }

  @Override
  public void setComposite(Composite value) {
    composite = value;
  }

  @Override
  public Object getRenderingHint(RenderingHints.Key key) {
    return hints.get(key);
  }

  @Override
  public void setRenderingHint(RenderingHints.Key key, Object value) {
    if (value == null) {
      hints.remove(key);
    } else {
      hints.put(key, value);
    }
  }

  @Override
  public RenderingHints getRenderingHints() {
    return (RenderingHints) hints.clone();
  }

  @Override
  public void setRenderingHints(Map<?, ?> values) {
    hints.clear();
    addRenderingHints(values);
  }

  @Override
  public void addRenderingHints(Map<?, ?> values) {
    hints.putAll(values);
  }
}
