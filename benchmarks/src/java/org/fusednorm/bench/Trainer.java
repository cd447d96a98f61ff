package org.fusednorm.bench;

/** One library's way through a training step of {@link Figure1}. */
interface Trainer extends AutoCloseable {
  /** Forward, loss, backward, descent and running statistics on the images of these rows. */
  void step(long[] rows);

  /** Loss of the last step, before its descent. */
  double loss();

  /** Running mean, then running variance, of the last normalization. */
  float[] running();

  /** What it runs on, with versions and threads. */
  String description();

  @Override
  void close();
}
