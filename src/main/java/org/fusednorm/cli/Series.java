package org.fusednorm.cli;

import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import org.fusednorm.cli.Metrics.Run;

/** What figures, page and tables of one experiment have in common: groupings, order and names. */
final class Series {
  private Series() {}

  /** Distinct values of one property, in ascending order. */
  static <T extends Comparable<T>> List<T> distinct(Metrics metrics, Function<Run, T> property) {
    return metrics.runs().stream().map(property).distinct().sorted().toList();
  }

  /** Distinct activations in the order of the runs. */
  static List<String> activations(Metrics metrics) {
    return metrics.runs().stream().map(Run::activation).distinct().toList();
  }

  static String batchNorm(boolean on) {
    return on ? "with batch norm" : "without batch norm";
  }

  /** A learning rate and how often it holds the base rate, e.g. {@code 0.5 (×5)}. */
  static String rate(Metrics metrics, double rate) {
    double times = rate / metrics.settings().learningRate();
    return Double.isFinite(times) && times > 0
        ? number(rate) + " (×" + number(times) + ")"
        : number(rate);
  }

  /** A fraction as a percentage without its sign, or a dash. */
  static String percent(Double fraction) {
    return fraction == null || !Double.isFinite(fraction)
        ? "–"
        : String.format(Locale.ROOT, "%.2f", 100 * fraction);
  }

  /** A number as short as its meaning allows: four significant digits. */
  static String number(Double value) {
    if (value == null || !Double.isFinite(value)) {
      return value == null || value.isNaN() ? "–" : value > 0 ? "∞" : "−∞";
    }
    double size = Math.abs(value);
    if (value == Math.rint(value) && size < 1e15) {
      return String.format(Locale.ROOT, "%,.0f", value);
    }
    if (size < 1e-4 || size >= 1e15) {
      return String.format(Locale.ROOT, "%.3g", value).replaceFirst("\\.?0+e", "e");
    }
    int digits = Math.max(0, 3 - (int) Math.floor(Math.log10(size)));
    String text = String.format(Locale.ROOT, "%,." + digits + "f", value);
    return text.contains(".") ? text.replaceFirst("\\.?0+$", "") : text;
  }

  static String count(Integer value) {
    return value == null ? "–" : String.format(Locale.ROOT, "%,d", value);
  }

  /** Heading of the experiment. */
  static String title(Metrics metrics) {
    return switch (metrics.experiment()) {
      case "figure1" -> "Test accuracy and internal covariate shift";
      case "learning-rate" -> "Batch norm at higher learning rates";
      case "initialization" -> "Batch norm and the scale of the initial weights";
      default -> "Batch norm, saturation and the vanishing gradient";
    };
  }
}
