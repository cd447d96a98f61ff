package org.fusednorm.cli;

import com.google.gson.FormattingStyle;
import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import com.google.gson.TypeAdapter;
import com.google.gson.reflect.TypeToken;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** How {@link Metrics} are written as JSON. */
final class MetricsJson {
  /** For files: every double as it is. */
  static final Gson FILE =
      gson(false).setFormattingStyle(FormattingStyle.PRETTY).disableHtmlEscaping().create();

  /** For a script element: strict JSON without NaN, and without a character that ends it. */
  static final Gson PAGE = gson(true).create();

  private MetricsJson() {}

  private static GsonBuilder gson(boolean nonFiniteAsNull) {
    TypeAdapter<Double> number = new Numbers(nonFiniteAsNull).nullSafe();
    return new GsonBuilder()
        .registerTypeAdapter(double.class, number)
        .registerTypeAdapter(Double.class, number)
        .registerTypeAdapter(
            new TypeToken<List<Double>>() {}.getType(), new OneLine<>(number).nullSafe())
        .registerTypeAdapter(
            new TypeToken<List<Integer>>() {}.getType(),
            new OneLine<>(new Gson().getAdapter(Integer.class)).nullSafe());
  }

  /** Doubles with NaN and infinities as strings, or, for the page, as null. */
  private static final class Numbers extends TypeAdapter<Double> {
    private final boolean nonFiniteAsNull;

    Numbers(boolean nonFiniteAsNull) {
      this.nonFiniteAsNull = nonFiniteAsNull;
    }

    @Override
    public void write(JsonWriter out, Double value) throws IOException {
      if (Double.isFinite(value)) {
        out.value(value);
      } else if (nonFiniteAsNull) {
        out.nullValue();
      } else {
        out.value(value.toString());
      }
    }

    @Override
    public Double read(JsonReader in) throws IOException {
      if (in.peek() == JsonToken.STRING) {
        String text = in.nextString();
        return switch (text) {
          case "NaN" -> Double.NaN;
          case "Infinity" -> Double.POSITIVE_INFINITY;
          case "-Infinity" -> Double.NEGATIVE_INFINITY;
          default -> throw new JsonParseException("\"" + text + "\" at " + in.getPath());
        };
      }
      return in.nextDouble();
    }
  }

  /** A list on one line, where the rest of the file has one value a line. */
  private static final class OneLine<T> extends TypeAdapter<List<T>> {
    private final TypeAdapter<T> element;

    OneLine(TypeAdapter<T> element) {
      this.element = element;
    }

    @Override
    public void write(JsonWriter out, List<T> values) throws IOException {
      FormattingStyle style = out.getFormattingStyle();
      boolean nulls = out.getSerializeNulls();
      out.beginArray();
      out.setFormattingStyle(FormattingStyle.COMPACT);
      out.setSerializeNulls(true);
      for (T value : values) {
        element.write(out, value);
      }
      out.endArray();
      out.setSerializeNulls(nulls);
      out.setFormattingStyle(style);
    }

    @Override
    public List<T> read(JsonReader in) throws IOException {
      List<T> values = new ArrayList<>();
      in.beginArray();
      while (in.hasNext()) {
        values.add(element.read(in));
      }
      in.endArray();
      return values;
    }
  }
}
