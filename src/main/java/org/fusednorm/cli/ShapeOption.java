package org.fusednorm.cli;

import java.util.Arrays;
import java.util.Locale;
import org.fusednorm.Shape;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads shapes as {@code NHWC:32x56x56x64}, the extents in memory order. */
final class ShapeOption implements ITypeConverter<Shape> {
  private static final String FORM =
      "write LAYOUT:AxBx.. with a layout of NC, NCL, NCHW, NCDHW, NLC, NHWC or NDHWC and its"
          + " extents in this order, such as NCHW:32x64x56x56";

  @Override
  public Shape convert(String value) {
    String[] parts = value.split(":", 2);
    long[] d;
    try {
      d = Arrays.stream(parts[parts.length - 1].split("x")).mapToLong(Long::parseLong).toArray();
    } catch (NumberFormatException e) {
      throw wrong(value);
    }
    String layout = parts.length == 2 ? parts[0].toUpperCase(Locale.ROOT) : "";
    if (d.length != layout.length()) {
      throw wrong(value);
    }
    Shape shape;
    try {
      shape =
          switch (layout) {
            case "NC" -> Shape.nc(d[0], d[1]);
            case "NCL" -> Shape.ncl(d[0], d[1], d[2]);
            case "NCHW" -> Shape.nchw(d[0], d[1], d[2], d[3]);
            case "NCDHW" -> Shape.ncdhw(d[0], d[1], d[2], d[3], d[4]);
            case "NLC" -> Shape.nlc(d[0], d[1], d[2]);
            case "NHWC" -> Shape.nhwc(d[0], d[1], d[2], d[3]);
            case "NDHWC" -> Shape.ndhwc(d[0], d[1], d[2], d[3], d[4]);
            default -> throw wrong(value);
          };
    } catch (IllegalArgumentException e) {
      throw new TypeConversionException("'" + value + "': " + e.getMessage());
    }
    if (shape.valuesPerChannel() < 2 || shape.elements() == 0) {
      throw new TypeConversionException(
          "'" + value + "' has fewer than two values per channel, or no channel");
    }
    return shape;
  }

  private static TypeConversionException wrong(String value) {
    return new TypeConversionException("'" + value + "' is no shape: " + FORM);
  }
}
