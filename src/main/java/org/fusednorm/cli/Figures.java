package org.fusednorm.cli;

import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.font.FontRenderContext;
import java.awt.geom.Rectangle2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import javax.imageio.stream.MemoryCacheImageOutputStream;
import org.fusednorm.cli.Metrics.Percentiles;
import org.fusednorm.cli.Metrics.Run;
import org.jfree.chart.JFreeChart;

/** The figure of an experiment, as SVG and as PNG. */
final class Figures {
  private static final int PNG_SCALE = 2;
  private static final int MARGIN = 6;

  /** Panels in rows; every row fills the width. */
  private record Figure(int width, int height, List<List<JFreeChart>> rows) {}

  private final Metrics metrics;
  private final Panels panels;

  private Figures(Metrics metrics, Panels.Fonts fonts) {
    this.metrics = metrics;
    this.panels = new Panels(fonts);
  }

  /** The figure as an SVG file. It needs neither display nor fonts. */
  static String svg(Metrics metrics) {
    System.setProperty("java.awt.headless", "true");
    SvgWriter writer = new SvgWriter();
    Figure figure = new Figures(metrics, PlainFont::new).figure();
    paint(figure, new SvgGraphics(writer));
    return writer.document(figure.width, figure.height, Series.title(metrics), metrics.claim());
  }

  /**
   * The figure as a PNG file of twice the size, for dense screens and print.
   *
   * @throws IllegalStateException if this JVM cannot draw text; the message says why
   */
  static byte[] png(Metrics metrics) throws IOException {
    System.setProperty("java.awt.headless", "true");
    requireFonts();
    Figure figure =
        new Figures(metrics, (style, size) -> new Font(Font.SANS_SERIF, style, size)).figure();
    BufferedImage image =
        new BufferedImage(
            figure.width * PNG_SCALE, figure.height * PNG_SCALE, BufferedImage.TYPE_INT_RGB);
    Graphics2D g = image.createGraphics();
    try {
      g.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
      g.setRenderingHint(
          RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
      g.setRenderingHint(
          RenderingHints.KEY_FRACTIONALMETRICS, RenderingHints.VALUE_FRACTIONALMETRICS_ON);
      g.setRenderingHint(RenderingHints.KEY_STROKE_CONTROL, RenderingHints.VALUE_STROKE_PURE);
      g.scale(PNG_SCALE, PNG_SCALE);
      paint(figure, g);
    } finally {
      g.dispose();
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (MemoryCacheImageOutputStream out = new MemoryCacheImageOutputStream(bytes)) {
      ImageIO.write(image, "png", out);
    }
    return bytes.toByteArray();
  }

  /**
   * Measures one character. Without fontconfig, FreeType or any font, AWT fails here, and only
   * here, with an Error, InternalError, RuntimeException or LinkageError that depends on the JVM
   * and on what is missing.
   */
  private static void requireFonts() {
    try {
      new Font(Font.SANS_SERIF, Font.PLAIN, 12)
          .getStringBounds("0", new FontRenderContext(null, true, true));
    } catch (OutOfMemoryError e) {
      throw e;
    } catch (RuntimeException | Error e) {
      Throwable cause = e;
      while (cause.getCause() != null) {
        cause = cause.getCause();
      }
      String reason = cause.getMessage() == null ? cause.toString() : cause.getMessage();
      throw new IllegalStateException("this JVM has no usable font: " + reason, e);
    }
  }

  private static void paint(Figure figure, Graphics2D g) {
    g.setPaint(Color.WHITE);
    g.fill(new Rectangle2D.Double(0, 0, figure.width, figure.height));
    double height = (figure.height - 2.0 * MARGIN) / Math.max(1, figure.rows.size());
    for (int r = 0; r < figure.rows.size(); r++) {
      List<JFreeChart> row = figure.rows.get(r);
      double width = (figure.width - 2.0 * MARGIN) / row.size();
      for (int c = 0; c < row.size(); c++) {
        row.get(c)
            .draw(
                g, new Rectangle2D.Double(MARGIN + c * width, MARGIN + r * height, width, height));
      }
    }
  }

  private Figure figure() {
    return switch (metrics.experiment()) {
      case "figure1" -> figure1();
      case "learning-rate" -> learningRate();
      case "initialization" -> initialization();
      default -> saturation();
    };
  }

  // Fig. 1 of the paper: accuracy, then one sigmoid's input without and with batch norm

  private Figure figure1() {
    List<JFreeChart> row = new ArrayList<>();
    List<Panels.Line> accuracy = new ArrayList<>();
    for (Run run : metrics.runs()) {
      Color color = run.batchNorm() ? Panels.WITH : Panels.WITHOUT;
      accuracy.add(Panels.Line.steps(run.name(), color, false, run, run.testAccuracy()));
      if (run.testAccuracyPopulation() != null) {
        String name = run.name() + ", population statistics";
        accuracy.add(
            Panels.Line.steps(name, color.darker(), true, run, run.testAccuracyPopulation()));
      }
    }
    row.add(panels.accuracyBySteps("(a) Test accuracy", accuracy));
    List<Run> inputs =
        metrics.runs().stream()
            .filter(run -> run.percentiles() != null)
            .sorted(Comparator.comparing(Run::batchNorm))
            .toList();
    double[] range = Panels.range(inputs.stream().flatMap(Figures::percentiles).toList());
    List<List<Double>> steps =
        inputs.stream().map(run -> run.steps().stream().map(Double::valueOf).toList()).toList();
    for (int i = 0; i < inputs.size(); i++) {
      Run run = inputs.get(i);
      String title = "(" + (char) ('b' + i) + ") Sigmoid input, " + run.name();
      row.add(panels.percentiles(title, run, range, steps));
    }
    return new Figure(Math.max(560, 380 * row.size()), 400, List.of(row));
  }

  private static Stream<List<Double>> percentiles(Run run) {
    Percentiles p = run.percentiles();
    return Stream.of(p.p15(), p.p50(), p.p85());
  }

  private Figure learningRate() {
    List<Double> rates = Series.distinct(metrics, Run::learningRate);
    List<Panels.Line> curves = new ArrayList<>();
    List<Panels.Bar> bars = new ArrayList<>();
    for (Run run : metrics.runs()) {
      Color color = Panels.sequence(rates.indexOf(run.learningRate()), rates.size());
      curves.add(Panels.Line.steps(run.name(), color, !run.batchNorm(), run, run.testAccuracy()));
      String rate = Series.rate(metrics, run.learningRate());
      bars.add(new Panels.Bar(run.batchNorm(), rate, run.finalAccuracy(), run.diverged(), color));
    }
    return new Figure(
        1080,
        440,
        List.of(
            List.of(
                panels.accuracyBySteps("(a) Test accuracy (dashed: without batch norm)", curves),
                panels.bars("(b) Final test accuracy", "learning rate", bars))));
  }

  private Figure initialization() {
    List<Panels.Line> lines = new ArrayList<>();
    for (boolean batchNorm : new boolean[] {true, false}) {
      List<Run> runs =
          metrics.runs().stream()
              .filter(run -> run.batchNorm() == batchNorm)
              .sorted(Comparator.comparingDouble(Run::sigma))
              .toList();
      lines.add(finalAccuracy(batchNorm, runs, run -> Math.log10(run.sigma())));
    }
    return new Figure(
        760,
        440,
        List.of(
            List.of(
                panels.accuracyByDecade(
                    "Final test accuracy by the scale of the initial weights",
                    "σ of the initial weights",
                    lines))));
  }

  /** For each activation the gradient norms by layer, and below the accuracy by depth. */
  private Figure saturation() {
    List<String> activations = Series.activations(metrics);
    if (activations.isEmpty()) {
      JFreeChart empty = panels.accuracyByDepth("Final test accuracy", List.of(), 0);
      return new Figure(560, 400, List.of(List.of(empty)));
    }
    List<JFreeChart> gradients = new ArrayList<>();
    List<List<Panels.Line>> accuracies = new ArrayList<>();
    double[] range =
        Panels.range(
            metrics.runs().stream()
                .filter(run -> run.gradientNorms() != null)
                .map(run -> run.gradientNorms().values().stream().map(Math::log10).toList())
                .toList());
    for (String activation : activations) {
      List<Panels.Line> norms = new ArrayList<>();
      List<Panels.Line> accuracy = new ArrayList<>();
      for (boolean batchNorm : new boolean[] {true, false}) {
        List<Run> runs =
            metrics.runs().stream()
                .filter(r -> r.activation().equals(activation) && r.batchNorm() == batchNorm)
                .sorted(Comparator.comparingInt(Run::depth))
                .toList();
        runs.stream().filter(r -> r.gradientNorms() != null).map(this::norms).forEach(norms::add);
        accuracy.add(finalAccuracy(batchNorm, runs, run -> (double) run.depth()));
      }
      gradients.add(
          panels.gradientNorms(activation + ": gradient (dashed: without BN)", norms, range));
      accuracies.add(accuracy);
    }
    double least = Panels.least(accuracies.stream().flatMap(List::stream).toList());
    List<JFreeChart> below = new ArrayList<>();
    for (int i = 0; i < activations.size(); i++) {
      below.add(
          panels.accuracyByDepth(
              activations.get(i) + ": final test accuracy", accuracies.get(i), least));
    }
    return new Figure(Math.max(560, 380 * below.size()), 760, List.of(gradients, below));
  }

  private Panels.Line norms(Run run) {
    List<Integer> depths = Series.distinct(metrics, Run::depth);
    List<Double> values = run.gradientNorms().values();
    return new Panels.Line(
        run.depth() + " hidden layers",
        Panels.sequence(depths.indexOf(run.depth()), depths.size()),
        !run.batchNorm(),
        Panels.oneTo(values.size()),
        values.stream().map(Math::log10).toList());
  }

  private static Panels.Line finalAccuracy(
      boolean batchNorm, List<Run> runs, Function<Run, Double> x) {
    return new Panels.Line(
        Series.batchNorm(batchNorm),
        batchNorm ? Panels.WITH : Panels.WITHOUT,
        !batchNorm,
        runs.stream().map(x).toList(),
        runs.stream().map(Run::finalAccuracy).toList());
  }
}
