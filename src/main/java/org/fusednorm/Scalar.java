package org.fusednorm;

/**
 * A number in a device's memory: what may change between replays of a {@link Recording} (learning
 * rate, momentum) lives in one, because a kernel parameter would be frozen into the recording.
 */
public final class Scalar implements AutoCloseable {
  private final Tensor value;

  Scalar(Tensor value) {
    this.value = value;
  }

  /** The F64 tensor of one element that holds the number. */
  public Tensor tensor() {
    return value;
  }

  /**
   * Replaces the number; ordered after the work queued so far.
   *
   * @throws IllegalStateException inside a recording
   */
  public void set(double v) {
    value.put(0, v);
  }

  /** Reads the number back; waits for the device. */
  public double get() {
    return value.get(0);
  }

  @Override
  public void close() {
    value.close();
  }
}
