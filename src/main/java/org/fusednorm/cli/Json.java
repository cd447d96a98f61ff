package org.fusednorm.cli;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.PrintWriter;

/** The documents that {@code --json} prints: records, their components in order. */
final class Json {
  private static final Gson GSON =
      new GsonBuilder().setPrettyPrinting().disableHtmlEscaping().serializeNulls().create();

  private Json() {}

  static void print(PrintWriter out, Object document) {
    out.println(GSON.toJson(document));
    out.flush();
  }

  /** JSON has no number for NaN and the infinities: null. */
  static Double number(double v) {
    return Double.isFinite(v) ? v : null;
  }
}
