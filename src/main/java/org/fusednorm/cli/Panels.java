package org.fusednorm.cli;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Paint;
import java.awt.Shape;
import java.awt.geom.Ellipse2D;
import java.awt.geom.Line2D;
import java.text.DecimalFormat;
import java.text.DecimalFormatSymbols;
import java.text.FieldPosition;
import java.text.NumberFormat;
import java.text.ParsePosition;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.BiFunction;
import java.util.stream.IntStream;
import org.fusednorm.cli.Metrics.Run;
import org.jfree.chart.JFreeChart;
import org.jfree.chart.axis.Axis;
import org.jfree.chart.axis.CategoryAxis;
import org.jfree.chart.axis.NumberAxis;
import org.jfree.chart.axis.NumberTickUnit;
import org.jfree.chart.block.BlockBorder;
import org.jfree.chart.block.ColumnArrangement;
import org.jfree.chart.labels.StandardCategoryItemLabelGenerator;
import org.jfree.chart.plot.CategoryPlot;
import org.jfree.chart.plot.Plot;
import org.jfree.chart.plot.XYPlot;
import org.jfree.chart.renderer.category.BarRenderer;
import org.jfree.chart.renderer.category.StandardBarPainter;
import org.jfree.chart.renderer.xy.DeviationRenderer;
import org.jfree.chart.renderer.xy.XYLineAndShapeRenderer;
import org.jfree.chart.text.TextUtils;
import org.jfree.chart.title.LegendTitle;
import org.jfree.chart.title.TextTitle;
import org.jfree.chart.ui.HorizontalAlignment;
import org.jfree.chart.ui.RectangleEdge;
import org.jfree.chart.ui.RectangleInsets;
import org.jfree.data.category.CategoryDataset;
import org.jfree.data.category.DefaultCategoryDataset;
import org.jfree.data.xy.XYSeries;
import org.jfree.data.xy.XYSeriesCollection;
import org.jfree.data.xy.YIntervalSeries;
import org.jfree.data.xy.YIntervalSeriesCollection;

/** The kinds of panels that figures are made of, in one style. */
final class Panels {
  /** Blue and vermilion of Okabe and Ito: told apart with any color vision, and in gray. */
  static final Color WITH = new Color(0x0072b2);

  static final Color WITHOUT = new Color(0xd55e00);

  /** From light to dark, for quantities that grow. */
  private static final int[] SEQUENCE = {
    0xe8a200, 0xe06c3c, 0xc9457a, 0x9a2fa5, 0x5f1fa6, 0x2a0e8c
  };

  private static final Color INK = new Color(0x222222);
  private static final Color MUTED = new Color(0x555555);
  private static final Color GRID = new Color(0xe2e2e2);
  private static final float[] DASHES = {6, 4};
  private static final double LOWEST_RANGE = 1e-6;

  static {
    // By default rotated text is drawn as the outlines of the machine's glyphs (a workaround for
    // a bug of Java 1.3), which an SVG without fonts does not have.
    TextUtils.setUseDrawRotatedStringWorkaround(false);
  }

  /** Makes fonts: real ones for pixels, {@link PlainFont} for SVG. */
  interface Fonts {
    Font font(int style, int size);
  }

  /** A curve; points that are not finite are gaps. */
  record Line(String name, Color color, boolean dashed, List<Double> x, List<Double> y) {
    static Line steps(String name, Color color, boolean dashed, Run run, List<Double> y) {
      return new Line(name, color, dashed, run.steps().stream().map(Double::valueOf).toList(), y);
    }
  }

  /** A bar of the group {@code group}; one without height says why. */
  record Bar(boolean batchNorm, String group, double accuracy, boolean diverged, Color color) {
    double height() {
      return Double.isFinite(accuracy) ? 100 * accuracy : 0;
    }

    String label() {
      if (diverged) {
        return "diverged";
      }
      return Double.isFinite(accuracy) ? decimal("0.0").format(100 * accuracy) : "–";
    }
  }

  private final Fonts fonts;

  Panels(Fonts fonts) {
    this.fonts = fonts;
  }

  static Color sequence(int index, int size) {
    int last = SEQUENCE.length - 1;
    return new Color(SEQUENCE[size == 1 ? last / 2 : Math.min(last, index * last / (size - 1))]);
  }

  static List<Double> oneTo(int last) {
    return IntStream.rangeClosed(1, last).mapToObj(Double::valueOf).toList();
  }

  /** Least and greatest finite value, or -1 and 1 if there is none. */
  static double[] range(List<List<Double>> series) {
    double[] values =
        series.stream()
            .flatMap(List::stream)
            .filter(Double::isFinite)
            .mapToDouble(v -> v)
            .toArray();
    double low = java.util.Arrays.stream(values).min().orElse(-1);
    double high = java.util.Arrays.stream(values).max().orElse(1);
    double margin = Math.max(LOWEST_RANGE, 0.05 * (high - low));
    return new double[] {low - margin, high + margin};
  }

  JFreeChart accuracyBySteps(String title, List<Line> lines) {
    boolean stacked = lines.size() <= 3;
    NumberAxis axis = stepAxis(lines.stream().map(Line::x).toList());
    return accuracy(title, axis, lines, false, least(lines), stacked);
  }

  JFreeChart accuracyByDecade(String title, String label, List<Line> lines) {
    NumberAxis axis = decades(label);
    axis.setAutoRangeMinimumSize(1);
    axis.setLowerMargin(0.06);
    axis.setUpperMargin(0.06);
    return accuracy(title, axis, lines, true, least(lines), false);
  }

  JFreeChart accuracyByDepth(String title, List<Line> lines, double least) {
    return accuracy(title, wholeNumbers("hidden layers"), lines, true, least, false);
  }

  /** Median and the percentiles around it as lines, with a band between them. */
  JFreeChart percentiles(String title, Run run, double[] range, List<List<Double>> steps) {
    Metrics.Percentiles p = run.percentiles();
    YIntervalSeriesCollection data = new YIntervalSeriesCollection();
    data.addSeries(interval("85th percentile", run, p.p85(), p.p85(), p.p85()));
    data.addSeries(interval("median", run, p.p50(), p.p15(), p.p85()));
    data.addSeries(interval("15th percentile", run, p.p15(), p.p15(), p.p15()));
    Color color = run.batchNorm() ? WITH : WITHOUT;
    DeviationRenderer renderer = new DeviationRenderer(true, false);
    renderer.setAlpha(0.2f);
    for (int i = 0; i < data.getSeriesCount(); i++) {
      lineStyle(renderer, i, color, false);
      renderer.setSeriesFillPaint(i, color);
      if (i != 1) {
        renderer.setSeriesStroke(i, new BasicStroke(0.8f));
      }
    }
    NumberAxis y = number("input of the sigmoid");
    y.setRange(range[0], range[1]);
    return chart(title, new XYPlot(data, stepAxis(steps), y, renderer), true);
  }

  private static YIntervalSeries interval(
      String name, Run run, List<Double> y, List<Double> low, List<Double> high) {
    YIntervalSeries series = new YIntervalSeries(name);
    for (int i = 0; i < y.size(); i++) {
      if (Double.isFinite(y.get(i) + low.get(i) + high.get(i))) {
        series.add(run.steps().get(i), y.get(i), low.get(i), high.get(i));
      }
    }
    return series;
  }

  JFreeChart gradientNorms(String title, List<Line> lines, double[] range) {
    NumberAxis y = decades("norm of the weight gradient");
    y.setRange(range[0], range[1]);
    double span = range[1] - range[0];
    y.setTickUnit(new NumberTickUnit(Math.max(1, Math.ceil(span / 8)), new Decades()));
    XYLineAndShapeRenderer renderer = new XYLineAndShapeRenderer(true, true);
    XYSeriesCollection data = data(lines, 1, renderer);
    // One entry a depth: the title says what the dashes mean.
    Set<String> named = new HashSet<>();
    for (int i = 0; i < lines.size(); i++) {
      renderer.setSeriesVisibleInLegend(i, named.add(lines.get(i).name));
    }
    return chart(title, new XYPlot(data, wholeNumbers("layer"), y, renderer), false);
  }

  JFreeChart bars(String title, String groups, List<Bar> bars) {
    DefaultCategoryDataset data = new DefaultCategoryDataset();
    for (boolean batchNorm : new boolean[] {true, false}) {
      for (Bar bar : bars) {
        if (bar.batchNorm == batchNorm) {
          data.addValue(bar.height(), Series.batchNorm(batchNorm), bar.group);
        }
      }
    }
    BiFunction<Integer, Integer, Bar> at =
        (row, column) -> {
          boolean batchNorm = data.getRowKey(row).equals(Series.batchNorm(true));
          return bars.stream()
              .filter(b -> b.batchNorm == batchNorm && b.group.equals(data.getColumnKey(column)))
              .findFirst()
              .orElseThrow();
        };
    BarRenderer renderer =
        new BarRenderer() {
          private static final long serialVersionUID = 1;

          @Override
          public Paint getItemPaint(int row, int column) {
            Bar bar = at.apply(row, column);
            return bar.batchNorm ? bar.color : pale(bar.color);
          }
        };
    renderer.setBarPainter(new StandardBarPainter());
    renderer.setShadowVisible(false);
    renderer.setItemMargin(0.04);
    renderer.setMaximumBarWidth(0.16);
    renderer.setDefaultItemLabelGenerator(
        new StandardCategoryItemLabelGenerator() {
          private static final long serialVersionUID = 1;

          @Override
          public String generateLabel(CategoryDataset values, int row, int column) {
            return at.apply(row, column).label();
          }
        });
    renderer.setDefaultItemLabelsVisible(true);
    renderer.setDefaultItemLabelFont(fonts.font(Font.PLAIN, 12));
    renderer.setDefaultItemLabelPaint(INK);
    for (int row = 0; row < data.getRowCount(); row++) {
      boolean batchNorm = data.getRowKey(row).equals(Series.batchNorm(true));
      renderer.setSeriesPaint(row, batchNorm ? MUTED : pale(MUTED));
    }
    NumberAxis y = number("final test accuracy (%)");
    y.setRange(0, 105);
    y.setTickUnit(new NumberTickUnit(20, decimal("0")));
    CategoryAxis x = new CategoryAxis(groups);
    style(x);
    CategoryPlot plot = new CategoryPlot(data, x, y, renderer);
    plot.setRangeGridlinePaint(GRID);
    plot.setRangeGridlineStroke(new BasicStroke(1));
    return chart(title, plot, false);
  }

  /** Least percentage of an axis for these accuracies: a multiple of ten, at most 90. */
  static double least(List<Line> lines) {
    double least =
        lines.stream()
            .flatMap(line -> line.y.stream())
            .filter(Double::isFinite)
            .min(Double::compare)
            .orElse(0.0);
    return Math.max(0, Math.min(90, Math.floor(10 * least) * 10));
  }

  private JFreeChart accuracy(
      String title, NumberAxis x, List<Line> lines, boolean points, double least, boolean stacked) {
    XYLineAndShapeRenderer renderer = new XYLineAndShapeRenderer(true, points);
    NumberAxis y = number("test accuracy (%)");
    y.setRange(least, 100 + 0.005 * (100 - least));
    return chart(title, new XYPlot(data(lines, 100, renderer), x, y, renderer), stacked);
  }

  private static XYSeriesCollection data(
      List<Line> lines, double factor, XYLineAndShapeRenderer renderer) {
    XYSeriesCollection data = new XYSeriesCollection();
    renderer.setDrawSeriesLineAsPath(true);
    for (int i = 0; i < lines.size(); i++) {
      Line line = lines.get(i);
      // Keys need not be unique for the reader, but for the collection.
      XYSeries series = new XYSeries(unique(line.name, data), false, true);
      for (int k = 0; k < line.y.size(); k++) {
        double x = line.x.get(k);
        double y = line.y.get(k);
        if (Double.isFinite(x)) {
          series.add(x, Double.isFinite(y) ? factor * y : Double.NaN);
        }
      }
      data.addSeries(series);
      lineStyle(renderer, i, line.color, line.dashed);
      // A single point makes no line.
      if (line.y.stream().filter(Double::isFinite).count() == 1) {
        renderer.setSeriesShapesVisible(i, true);
      }
    }
    return data;
  }

  private static String unique(String name, XYSeriesCollection data) {
    String key = name;
    for (int n = 2; data.getSeriesIndex(key) >= 0; n++) {
      key = name + " (" + n + ")";
    }
    return key;
  }

  private static void lineStyle(
      XYLineAndShapeRenderer renderer, int series, Color color, boolean dashed) {
    renderer.setSeriesPaint(series, color);
    int cap = dashed ? BasicStroke.CAP_BUTT : BasicStroke.CAP_ROUND;
    renderer.setSeriesStroke(
        series, new BasicStroke(2, cap, BasicStroke.JOIN_ROUND, 1, dashed ? DASHES : null, 0));
    Shape dot = new Ellipse2D.Double(-3.5, -3.5, 7, 7);
    renderer.setSeriesShape(series, dot);
    renderer.setSeriesFillPaint(series, dashed ? Color.WHITE : color);
    renderer.setUseFillPaint(!(renderer instanceof DeviationRenderer));
    renderer.setLegendLine(new Line2D.Double(-12, 0, 12, 0));
  }

  private NumberAxis stepAxis(List<List<Double>> steps) {
    NumberAxis axis = number("training steps");
    double last = steps.stream().flatMap(List::stream).mapToDouble(v -> v).max().orElse(1);
    axis.setRange(0, Math.max(1, last));
    return axis;
  }

  private NumberAxis wholeNumbers(String label) {
    NumberAxis axis = number(label);
    axis.setStandardTickUnits(NumberAxis.createIntegerTickUnits(Locale.ROOT));
    axis.setAutoRangeMinimumSize(1);
    axis.setAutoRangeIncludesZero(false);
    axis.setAutoRangeStickyZero(false);
    axis.setLowerMargin(0.06);
    axis.setUpperMargin(0.06);
    return axis;
  }

  private NumberAxis decades(String label) {
    NumberAxis axis = number(label);
    axis.setAutoRangeIncludesZero(false);
    axis.setAutoRangeStickyZero(false);
    axis.setTickUnit(new NumberTickUnit(1, new Decades()));
    return axis;
  }

  private NumberAxis number(String label) {
    NumberAxis axis = new NumberAxis(label);
    axis.setStandardTickUnits(NumberAxis.createStandardTickUnits(Locale.ROOT));
    style(axis);
    return axis;
  }

  private void style(Axis axis) {
    axis.setLabelFont(fonts.font(Font.PLAIN, 13));
    axis.setLabelPaint(INK);
    axis.setTickLabelFont(fonts.font(Font.PLAIN, 12));
    axis.setTickLabelPaint(MUTED);
    // Wide insets make for fewer ticks.
    axis.setTickLabelInsets(new RectangleInsets(5, 4, 5, 4));
    axis.setAxisLinePaint(MUTED);
    axis.setTickMarkPaint(MUTED);
  }

  private JFreeChart chart(String title, Plot plot, boolean stackedLegend) {
    plot.setBackgroundPaint(null);
    plot.setOutlineVisible(false);
    plot.setNoDataMessage("no data");
    plot.setNoDataMessageFont(fonts.font(Font.PLAIN, 13));
    plot.setInsets(new RectangleInsets(4, 0, 0, 24));
    if (plot instanceof XYPlot xy) {
      xy.setDomainGridlinesVisible(false);
      xy.setRangeGridlinePaint(GRID);
      xy.setRangeGridlineStroke(new BasicStroke(1));
      xy.setAxisOffset(new RectangleInsets(0, 4, 0, 0));
    }
    JFreeChart chart = new JFreeChart(null, null, plot, false);
    chart.setBackgroundPaint(Color.WHITE);
    chart.setPadding(new RectangleInsets(8, 8, 8, 8));
    TextTitle heading = new TextTitle(title, fonts.font(Font.BOLD, 14));
    heading.setPaint(INK);
    heading.setHorizontalAlignment(HorizontalAlignment.LEFT);
    heading.setPadding(new RectangleInsets(0, 4, 4, 0));
    chart.setTitle(heading);
    LegendTitle legend =
        stackedLegend
            ? new LegendTitle(plot, new ColumnArrangement(), new ColumnArrangement())
            : new LegendTitle(plot);
    legend.setItemFont(fonts.font(Font.PLAIN, 12));
    legend.setItemPaint(INK);
    legend.setPosition(RectangleEdge.BOTTOM);
    legend.setFrame(BlockBorder.NONE);
    legend.setBackgroundPaint(null);
    legend.setItemLabelPadding(new RectangleInsets(2, 4, 2, 10));
    chart.addLegend(legend);
    return chart;
  }

  /** Mixed with white, so that grid lines do not shine through. */
  private static Color pale(Color color) {
    return new Color(pale(color.getRed()), pale(color.getGreen()), pale(color.getBlue()));
  }

  private static int pale(int component) {
    return 255 - (255 - component) * 2 / 5;
  }

  private static NumberFormat decimal(String pattern) {
    return new DecimalFormat(pattern, DecimalFormatSymbols.getInstance(Locale.ROOT));
  }

  /** Writes the logarithm -2 as 10⁻². */
  private static final class Decades extends NumberFormat {
    private static final long serialVersionUID = 1;
    private static final String DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

    @Override
    public StringBuffer format(double exponent, StringBuffer out, FieldPosition position) {
      long rounded = Math.round(exponent);
      out.append(rounded < 0 ? "10⁻" : "10");
      String.valueOf(Math.abs(rounded)).chars().forEach(c -> out.append(DIGITS.charAt(c - '0')));
      return out;
    }

    @Override
    public StringBuffer format(long exponent, StringBuffer out, FieldPosition position) {
      return format((double) exponent, out, position);
    }

    @Override
    public Number parse(String text, ParsePosition position) {
      throw new UnsupportedOperationException("axis labels are only written");
    }
  }
}
