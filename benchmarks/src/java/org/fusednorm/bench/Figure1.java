package org.fusednorm.bench;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import org.fusednorm.cli.Dataset;
import org.fusednorm.cli.Digits;
import org.fusednorm.nn.Generator;

/**
 * The training that is measured, for every library the same: section 4.1 of arXiv 1502.03167 with
 * batch normalization. 784-100-100-100-10, sigmoid, cross-entropy, binarized images, plain gradient
 * descent; the layers before a normalization have no bias.
 *
 * @param images one byte per pixel, 0 or 1, [IMAGES, 784]
 * @param labels 0 .. 9, [IMAGES]
 * @param weights what the four layers start from, [out, in]; gamma starts at 1, beta, bias and
 *     running mean at 0, running variance at 1
 */
record Figure1(byte[] images, byte[] labels, float[][] weights) {
  static final int IMAGES = 60_000;
  static final int BATCH = 60;
  static final int[] WIDTHS = {784, 100, 100, 100, 10};
  static final int LAYERS = WIDTHS.length - 1;
  static final float LEARNING_RATE = 0.5f;

  /** Weight of the new value in the running statistics. */
  static final float MOMENTUM = 0.1f;

  static final float EPS = 1e-5f;

  private static final double SIGMA = 0.01;
  private static final long SEED = 1;

  /** Paints the images and draws the weights: the same on every machine. */
  static Figure1 generate() {
    Dataset digits = Digits.generate(Digits.TRAIN_SEED, IMAGES);
    Generator random = new Generator(SEED);
    float[][] weights = new float[LAYERS][];
    for (int l = 0; l < LAYERS; l++) {
      weights[l] = new float[WIDTHS[l + 1] * WIDTHS[l]];
      for (int i = 0; i < weights[l].length; i++) {
        weights[l][i] = (float) (SIGMA * random.nextGaussian());
      }
    }
    return new Figure1(digits.binarized(), digits.labels(), weights);
  }

  /** Row numbers of one batch after another. */
  static Generator batches() {
    return new Generator(SEED).stream(1);
  }

  /** Draws the next batch. */
  static void draw(Generator random, long[] rows) {
    for (int i = 0; i < rows.length; i++) {
      rows[i] = random.nextInt(IMAGES);
    }
  }

  /**
   * Writes the files {@code images}, {@code labels}, {@code weights} (F32, layer after layer) and
   * {@code rows} (I64, of the first batches), little-endian without any header.
   */
  void write(Path folder, int batches) throws IOException {
    Files.createDirectories(folder);
    Files.write(folder.resolve("images"), images);
    Files.write(folder.resolve("labels"), labels);
    int floats = 0;
    for (float[] w : weights) {
      floats += w.length;
    }
    ByteBuffer all = ByteBuffer.allocate(4 * floats).order(ByteOrder.LITTLE_ENDIAN);
    for (float[] w : weights) {
      all.asFloatBuffer().put(w);
      all.position(all.position() + 4 * w.length);
    }
    Files.write(folder.resolve("weights"), all.array());
    Generator random = batches();
    long[] batch = new long[BATCH];
    ByteBuffer rows = ByteBuffer.allocate(8 * BATCH * batches).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < batches; i++) {
      draw(random, batch);
      rows.slice(8 * BATCH * i, 8 * BATCH).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer().put(batch);
    }
    Files.write(folder.resolve("rows"), rows.array());
  }

  /** Reads what {@link #write} wrote. */
  static Figure1 read(Path folder) throws IOException {
    ByteBuffer all =
        ByteBuffer.wrap(Files.readAllBytes(folder.resolve("weights")))
            .order(ByteOrder.LITTLE_ENDIAN);
    float[][] weights = new float[LAYERS][];
    for (int l = 0; l < LAYERS; l++) {
      weights[l] = new float[WIDTHS[l + 1] * WIDTHS[l]];
      all.asFloatBuffer().get(weights[l]);
      all.position(all.position() + 4 * weights[l].length);
    }
    return new Figure1(
        Files.readAllBytes(folder.resolve("images")),
        Files.readAllBytes(folder.resolve("labels")),
        weights);
  }
}
