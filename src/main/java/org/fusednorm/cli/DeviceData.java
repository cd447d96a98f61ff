package org.fusednorm.cli;

import java.nio.ByteBuffer;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Shape;
import org.fusednorm.Tensor;

/** A data set in a device's memory: binarized images as bytes, so that a step moves few of them. */
final class DeviceData implements AutoCloseable {
  private final Tensor images;
  private final Tensor labels;
  private final int classes;

  DeviceData(Backend backend, Dataset data) {
    images = backend.empty(Shape.of(data.count(), data.pixels()), DType.U8);
    images.copyFrom(ByteBuffer.wrap(data.binarized()));
    labels = backend.empty(Shape.of(data.count()), DType.I64);
    long[] wide = new long[data.count()];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = data.labels()[i];
    }
    labels.copyFrom(wide);
    classes = data.classes();
  }

  int count() {
    return (int) images.shape().batch();
  }

  int pixels() {
    return (int) images.shape().dim(1);
  }

  int classes() {
    return classes;
  }

  /** Puts the images and labels of these rows (I64) into {@code x} and {@code y}. */
  void gather(Tensor rows, Tensor x, Tensor y) {
    images.backend().math().gather(images, rows, 1, x);
    images.backend().math().gather(labels, rows, 1, y);
  }

  @Override
  public void close() {
    images.close();
    labels.close();
  }
}
