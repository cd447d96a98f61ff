package org.fusednorm.cli;

import java.util.Arrays;

/**
 * How people write the ten digits: several styles of each, as the points a pen passes through.
 *
 * <p>A style is one line of text. Points are {@code x,y} in a box of 100 x 100 (y downwards), a
 * {@code !} after a point makes the pen turn sharply there, and {@code |} lifts it. Between points
 * the pen follows a Catmull-Rom curve.
 */
final class DigitShapes {
  /** One movement of the pen from touch-down to lift. */
  record Stroke(float[] x, float[] y, boolean[] corner) {}

  private static final String[][] TEXT = {
    {
      "56,3 32,14 21,50 32,87 52,97 71,85 79,50 70,16 54,3 38,7",
      "58,3 39,20 30,56 37,91 52,97 66,79 71,42 65,11 54,3 45,9",
      "45,8 22,26 15,55 28,84 52,93 76,80 85,52 77,22 55,7 38,12",
      "66,8 47,4 28,20 22,55 33,89 53,96 71,79 76,44 67,14 52,5",
    },
    {
      "50,3 50,50 50,97",
      "33,25 53,3! 52,50 51,97",
      "36,20 53,4! 52,95 | 31,96 73,95",
      "57,3 51,50 46,97",
      "27,40 44,24 56,4! 54,50 51,97",
    },
    {
      "24,25 34,8 54,3 71,16 69,38 51,64 22,94! 50,93 82,95",
      "26,23 42,5 64,8 71,28 58,58 36,85 24,92 19,84 31,78 52,88 68,95 84,87",
      "22,30 31,9 56,4 72,22 64,47 42,72 22,92! 46,88 62,95 82,89",
      "26,15 50,5 70,15 67,36 46,66 20,95! 50,94 80,94",
    },
    {
      "24,15 44,3 65,10 67,29 53,43 40,47! 61,51 76,67 69,88 47,97 22,86",
      "24,7 48,6 72,6! 57,25 43,42! 65,48 77,68 66,91 44,97 22,87",
      "26,13 50,3 67,15 62,35 45,46! 66,53 74,75 57,94 36,96 22,85",
    },
    {
      "34,4 28,30 22,58! 50,60 82,56 | 66,8 64,50 60,97",
      "63,4 41,35 20,65! 52,66 84,65 | 63,4 63,50 62,97",
      "30,6 25,36 33,55 52,56 72,46 | 74,6 70,50 64,98",
      "57,3 37,34 20,61! 54,61 84,58 | 62,33 61,65 59,97",
    },
    {
      "75,5 54,5 34,6! 31,25 28,45! 48,38 69,47 76,69 63,91 41,97 22,88",
      "34,8 32,26 30,45! 52,40 72,54 74,77 57,95 37,96 22,86 | 34,8 56,8 79,5",
      "76,6 52,5 35,12 33,33 49,45 68,59 70,79 53,95 33,95 22,86",
    },
    {
      "64,3 43,22 28,52 28,80 44,97 64,92 74,74 64,56 46,56 30,74",
      "52,3 37,36 30,70 40,94 58,97 74,82 70,62 52,56 34,70",
      "72,9 54,4 35,22 24,56 30,86 50,97 70,86 72,64 54,52 36,61 28,76",
    },
    {
      "20,10 48,8 78,8! 59,50 44,97",
      "22,9 50,9 78,8! 60,48 46,97 | 36,52 54,51 74,48",
      "22,25 22,8! 50,11 78,8! 55,56 48,97",
      "18,15 34,6 56,12 78,8! 61,36 50,66 46,97",
    },
    {
      "70,15 50,3 30,14 32,33 51,47 71,64 73,84 51,97 28,86 29,66 48,48 67,34 70,17 62,6",
      "50,3 33,12 33,36 50,46 67,36 67,12 50,3 | 50,46 27,60 27,86 50,97 73,86 73,60 50,46",
      "63,9 47,4 36,18 44,37 58,56 65,77 54,95 38,91 37,72 50,52 65,32 68,15 58,6",
    },
    {
      "70,22 52,5 32,14 26,36 40,52 60,46 72,24! 70,60 64,97",
      "70,20 50,4 30,14 28,38 46,50 66,40 72,18! 74,54 66,86 46,97 28,90",
      "68,13 46,6 28,24 34,46 56,48 69,30 72,11! 62,52 48,97",
      "72,26 58,6 36,8 26,28 38,48 58,46 72,26! 71,60 70,97",
    },
  };

  /** {@code STYLES[digit][style][stroke]}. */
  private static final Stroke[][][] STYLES =
      Arrays.stream(TEXT)
          .map(digit -> Arrays.stream(digit).map(DigitShapes::parse).toArray(Stroke[][]::new))
          .toArray(Stroke[][][]::new);

  private DigitShapes() {}

  /** The styles of a digit, each an array of strokes. */
  static Stroke[][] styles(int digit) {
    return STYLES[digit];
  }

  private static Stroke[] parse(String style) {
    return Arrays.stream(style.split(" \\| ")).map(DigitShapes::parseStroke).toArray(Stroke[]::new);
  }

  private static Stroke parseStroke(String text) {
    String[] points = text.split(" ");
    Stroke stroke =
        new Stroke(new float[points.length], new float[points.length], new boolean[points.length]);
    for (int i = 0; i < points.length; i++) {
      stroke.corner[i] = points[i].endsWith("!");
      String[] xy = points[i].replace("!", "").split(",");
      stroke.x[i] = Float.parseFloat(xy[0]);
      stroke.y[i] = Float.parseFloat(xy[1]);
    }
    return stroke;
  }
}
