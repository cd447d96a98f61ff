package org.fusednorm.bench;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;
import org.fusednorm.Activation;
import org.fusednorm.DType;
import org.fusednorm.Shape;

/**
 * One normalization that is measured.
 *
 * @param layout NCHW, NHWC or NC
 * @param shape the extents in the order of the layout
 * @param type of the data; parameters and statistics are F32 or wider
 * @param operation what is done
 */
record NormCase(String layout, Shape shape, DType type, Operation operation) {
  static final double EPS = 1e-5;

  /** What is done, with how often the least traffic touches each element of the data. */
  enum Operation {
    FORWARD(2, false, false),
    FORWARD_RELU(2, true, false),
    FORWARD_ADD_RELU(3, true, true),
    BACKWARD(3, false, false),
    BACKWARD_RELU(3, true, false),
    INFERENCE(2, false, false),
    INFERENCE_RELU(2, true, false);

    private final int touches;
    private final boolean relu;
    private final boolean add;

    Operation(int touches, boolean relu, boolean add) {
      this.touches = touches;
      this.relu = relu;
      this.add = add;
    }

    boolean relu() {
      return relu;
    }

    /** Whether a residual is added before the ReLU. */
    boolean add() {
      return add;
    }

    boolean isBackward() {
      return this == BACKWARD || this == BACKWARD_RELU;
    }

    /** Whether the running statistics are used in place of the batch's. */
    boolean isInference() {
      return this == INFERENCE || this == INFERENCE_RELU;
    }

    Activation activation() {
      return relu ? Activation.RELU : Activation.NONE;
    }

    /** As users write it: {@code forward+add+relu}. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT).replace('_', '+');
    }

    static Operation parse(String text) {
      return Arrays.stream(values())
          .filter(o -> o.toString().equals(text))
          .findFirst()
          .orElseThrow(
              () ->
                  new IllegalArgumentException(
                      "'" + text + "' is no operation of " + Arrays.toString(values())));
    }
  }

  /**
   * From text.
   *
   * @param shape such as {@code NHWC:32x56x56x64}, the extents in memory order
   */
  static NormCase parse(String shape, String type, String operation) {
    String[] parts = shape.split(":");
    long[] d =
        Arrays.stream(parts[parts.length - 1].split("x")).mapToLong(Long::parseLong).toArray();
    Shape s =
        switch (parts[0] + d.length) {
          case "NCHW4" -> Shape.nchw(d[0], d[1], d[2], d[3]);
          case "NHWC4" -> Shape.nhwc(d[0], d[1], d[2], d[3]);
          case "NC2" -> Shape.nc(d[0], d[1]);
          default ->
              throw new IllegalArgumentException(
                  "'" + shape + "' is no shape: NCHW:NxCxHxW, NHWC:NxHxWxC or NC:NxC");
        };
    return new NormCase(parts[0], s, DType.valueOf(type), Operation.parse(operation));
  }

  int channels() {
    return Math.toIntExact(shape.channels());
  }

  long elements() {
    return shape.elements();
  }

  /** Bytes of one tensor of the data. */
  long dataBytes() {
    return shape.bytes(type);
  }

  /** The least bytes that must be read and written. */
  long bytes() {
    return operation.touches * dataBytes();
  }

  /** As {@link #parse} takes it. */
  String shapeText() {
    return layout
        + ":"
        + Arrays.stream(shape.dims()).mapToObj(Long::toString).collect(Collectors.joining("x"));
  }

  @Override
  public String toString() {
    return shapeText() + " " + type + " " + operation;
  }
}
