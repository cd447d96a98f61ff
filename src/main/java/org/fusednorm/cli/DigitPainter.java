package org.fusednorm.cli;

import java.util.Arrays;
import org.fusednorm.cli.DigitShapes.Stroke;

/**
 * Paints one handwritten-like digit: a style, its points jittered, bent by a smooth warp, turned,
 * slanted, stretched and shifted, then drawn with a round pen and antialiased.
 *
 * <p>Only IEEE operations, {@code Math.sqrt} (correctly rounded by its specification) and {@code
 * StrictMath} are used, so that the bytes are the same on every JVM. Not thread-safe: each thread
 * has its own painter.
 */
final class DigitPainter {
  static final int SIZE = 28;

  /** Half the height of an unstretched digit in pixels: 20 of 28, as in MNIST. */
  private static final float HALF_HEIGHT = 10;

  // These ranges set the difficulty of the data set: a linear classifier at 91 %, the network with
  // batch normalization at 98 %. Any change makes another data set.

  /** How far a neat hand misses a point, and how much further the sloppiest one (half heights). */
  private static final float NEAT = 0.10f;

  private static final float SLOPPY = 0.33f;

  /** Coefficients of the quadratic warp. */
  private static final float WARP = 0.2f;

  /** Radians. */
  private static final float ROTATION = 0.4f;

  private static final float SLANT = 0.5f;
  private static final float MIN_STRETCH = 0.75f;
  private static final float MAX_STRETCH = 1.1f;

  /** Pixels, as are the radii of the pen. */
  private static final float SHIFT = 2.25f;

  private static final float MIN_PEN = 0.7f;
  private static final float MAX_PEN = 1.7f;

  /** Longest straight piece of a curve, in pixels. */
  private static final float PIECE = 1.5f;

  private final float[] ink = new float[SIZE * SIZE];
  private final float[] warp = new float[6];
  private float xx;
  private float xy;
  private float yx;
  private float yy;
  private float shiftX;
  private float shiftY;
  private float pen;
  private float jitter;

  /** Paints {@code digit} with the given randomness into {@code out[offset ..]}, row by row. */
  void paint(int digit, CounterRandom random, byte[] out, int offset) {
    Arrays.fill(ink, 0);
    Stroke[][] styles = DigitShapes.styles(digit);
    Stroke[] style = styles[random.below(styles.length)];
    pickTransform(random);
    for (Stroke stroke : style) {
      draw(stroke, random);
    }
    for (int i = 0; i < ink.length; i++) {
      out[offset + i] = (byte) (255 * ink[i] + 0.5f);
    }
  }

  private void pickTransform(CounterRandom random) {
    float angle = random.around0(ROTATION);
    float cos = (float) StrictMath.cos(angle);
    float sin = (float) StrictMath.sin(angle);
    float slant = random.around0(SLANT);
    float width = HALF_HEIGHT * random.between(MIN_STRETCH, MAX_STRETCH);
    float height = HALF_HEIGHT * random.between(MIN_STRETCH, MAX_STRETCH);
    // rotation * slant * stretch
    xx = cos * width;
    xy = (-cos * slant - sin) * height;
    yx = sin * width;
    yy = (-sin * slant + cos) * height;
    shiftX = SIZE / 2f + random.around0(SHIFT);
    shiftY = SIZE / 2f + random.around0(SHIFT);
    for (int i = 0; i < warp.length; i++) {
      warp[i] = random.around0(WARP);
    }
    pen = random.between(MIN_PEN, MAX_PEN);
    // The fourth power: most writers are neat, a few are hard to read.
    float sloppiness = random.uniform();
    jitter = NEAT + SLOPPY * sloppiness * sloppiness * sloppiness * sloppiness;
  }

  private void draw(Stroke stroke, CounterRandom random) {
    int n = stroke.x().length;
    float[] x = new float[n];
    float[] y = new float[n];
    for (int i = 0; i < n; i++) {
      float u = (stroke.x()[i] - 50) / 50 + random.around0(jitter);
      float v = (stroke.y()[i] - 50) / 50 + random.around0(jitter);
      float bentU = u + warp[0] * u * u + warp[1] * u * v + warp[2] * v * v;
      float bentV = v + warp[3] * u * u + warp[4] * u * v + warp[5] * v * v;
      x[i] = shiftX + xx * bentU + xy * bentV;
      y[i] = shiftY + yx * bentU + yy * bentV;
    }
    boolean[] corner = stroke.corner();
    for (int i = 0; i + 1 < n; i++) {
      boolean starts = i == 0 || corner[i];
      boolean ends = i + 2 == n || corner[i + 1];
      // Where the curve begins or ends, the neighbour is mirrored: it leaves in a straight line.
      float beforeX = starts ? 2 * x[i] - x[i + 1] : x[i - 1];
      float beforeY = starts ? 2 * y[i] - y[i + 1] : y[i - 1];
      float afterX = ends ? 2 * x[i + 1] - x[i] : x[i + 2];
      float afterY = ends ? 2 * y[i + 1] - y[i] : y[i + 2];
      curve(beforeX, beforeY, x[i], y[i], x[i + 1], y[i + 1], afterX, afterY);
    }
  }

  /** The Catmull-Rom curve from point 1 to point 2, in straight pieces. */
  private void curve(
      float x0, float y0, float x1, float y1, float x2, float y2, float x3, float y3) {
    float chord = (float) Math.sqrt((x2 - x1) * (x2 - x1) + (y2 - y1) * (y2 - y1));
    int pieces = 1 + (int) (chord / PIECE);
    float fromX = x1;
    float fromY = y1;
    for (int i = 1; i <= pieces; i++) {
      float t = (float) i / pieces;
      float toX = catmullRom(x0, x1, x2, x3, t);
      float toY = catmullRom(y0, y1, y2, y3, t);
      line(fromX, fromY, toX, toY);
      fromX = toX;
      fromY = toY;
    }
  }

  private static float catmullRom(float p0, float p1, float p2, float p3, float t) {
    float linear = p2 - p0;
    float square = 2 * p0 - 5 * p1 + 4 * p2 - p3;
    float cube = 3 * (p1 - p2) + p3 - p0;
    return p1 + 0.5f * t * (linear + t * (square + t * cube));
  }

  /** Inks every pixel whose centre is within the pen's radius of the segment, with a soft edge. */
  private void line(float x1, float y1, float x2, float y2) {
    float reach = pen + 0.5f;
    int left = clampToGrid(Math.min(x1, x2) - reach);
    int right = clampToGrid(Math.max(x1, x2) + reach);
    int top = clampToGrid(Math.min(y1, y2) - reach);
    int bottom = clampToGrid(Math.max(y1, y2) + reach);
    float dx = x2 - x1;
    float dy = y2 - y1;
    float perLength = 1 / Math.max(dx * dx + dy * dy, 1e-12f);
    for (int row = top; row <= bottom; row++) {
      float py = row + 0.5f - y1;
      for (int column = left; column <= right; column++) {
        float px = column + 0.5f - x1;
        float along = Math.max(0, Math.min(1, (px * dx + py * dy) * perLength));
        float offX = px - along * dx;
        float offY = py - along * dy;
        float square = offX * offX + offY * offY;
        if (square < reach * reach) {
          float coverage = Math.min(1, reach - (float) Math.sqrt(square));
          int pixel = row * SIZE + column;
          ink[pixel] = Math.max(ink[pixel], coverage);
        }
      }
    }
  }

  private static int clampToGrid(float coordinate) {
    return Math.max(0, Math.min(SIZE - 1, (int) coordinate));
  }
}
