package org.fusednorm.cli;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.geom.Ellipse2D;
import java.awt.geom.Rectangle2D;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.DecimalFormat;
import java.text.DecimalFormatSymbols;
import java.text.FieldPosition;
import java.text.NumberFormat;
import java.text.ParsePosition;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jfree.chart.JFreeChart;
import org.jfree.chart.axis.NumberAxis;
import org.jfree.chart.axis.NumberTickUnit;
import org.jfree.chart.block.BlockBorder;
import org.jfree.chart.plot.XYPlot;
import org.jfree.chart.renderer.xy.XYLineAndShapeRenderer;
import org.jfree.chart.text.TextUtils;
import org.jfree.chart.title.LegendTitle;
import org.jfree.chart.title.TextTitle;
import org.jfree.chart.ui.RectangleEdge;
import org.jfree.data.xy.XYSeries;
import org.jfree.data.xy.XYSeriesCollection;

/**
 * Speed by size on a GPU, as {@code benchmarks/gpu/run} measured it: 10^9 of the least bytes per
 * second over those bytes, a point for each shape and type, and the copy of as many bytes as a line
 * (backward: an addition into a third tensor, where it was measured).
 *
 * <p>{@code GpuFigure FOLDER} reads ours.json, peers.json and peers-compile.json there and writes
 * roofline.svg, which needs no font of the machine.
 */
public final class GpuFigure {
  private static final int WIDTH = 1000;
  private static final int PANEL = 420;
  private static final Color INK = new Color(0x222222);
  private static final Color GRID = new Color(0xe2e2e2);

  /** Of Okabe and Ito: told apart with any color vision. */
  private static final Map<String, Color> COLORS = new LinkedHashMap<>();

  static {
    // By default rotated text is drawn as outlines of the machine's glyphs.
    TextUtils.setUseDrawRotatedStringWorkaround(false);
    COLORS.put("limit", INK);
    COLORS.put("fusednorm", new Color(0x0072b2));
    COLORS.put("PyTorch", new Color(0xd55e00));
    COLORS.put("cuDNN", new Color(0x009e73));
    COLORS.put("torch.compile", new Color(0xcc79a7));
  }

  /** What a panel shows: operations, and that of the limit. */
  private record Panel(String title, List<String> operations, List<String> limits) {}

  private static final List<Panel> PANELS =
      List.of(
          new Panel("Forward, training", List.of("forward", "forward+relu"), List.of("copy")),
          new Panel("Backward", List.of("backward", "backward+relu"), List.of("add", "copy")),
          new Panel("Inference", List.of("infer"), List.of("copy")));

  private record Row(String peer, String operation, double bytes, double speed) {}

  private GpuFigure() {}

  /** Writes the picture. */
  public static void main(String[] args) throws IOException {
    if (args.length != 1) {
      System.err.println("usage: GpuFigure FOLDER");
      System.exit(2);
    }
    Path folder = Path.of(args[0]);
    Path out = folder.resolve("roofline.svg");
    WholeFile.write(out, svg(folder).getBytes(StandardCharsets.UTF_8));
    System.out.println(out);
  }

  /**
   * The picture.
   *
   * @throws IOException if a file is damaged, or neither holds a time
   */
  static String svg(Path folder) throws IOException {
    List<Row> rows = new ArrayList<>();
    String gpu = read(folder.resolve("ours.json"), rows, "a GPU");
    gpu = read(folder.resolve("peers.json"), rows, gpu);
    gpu = read(folder.resolve("peers-compile.json"), rows, gpu);
    if (rows.isEmpty()) {
      throw new IOException(folder + " has no ours.json or peers.json with times");
    }
    System.setProperty("java.awt.headless", "true");
    List<JFreeChart> charts = new ArrayList<>();
    for (Panel p : PANELS) {
      if (rows.stream().anyMatch(r -> p.operations.contains(r.operation))) {
        charts.add(chart(p, rows));
      }
    }
    SvgWriter writer = new SvgWriter();
    SvgGraphics g = new SvgGraphics(writer);
    int height = PANEL * charts.size();
    g.setPaint(Color.WHITE);
    g.fill(new Rectangle2D.Double(0, 0, WIDTH, height));
    for (int i = 0; i < charts.size(); i++) {
      charts.get(i).draw(g, new Rectangle2D.Double(0, i * PANEL, WIDTH, PANEL));
    }
    return writer.document(
        WIDTH,
        height,
        "Batch normalization on " + gpu,
        "Least bytes per second by least bytes, beside a copy");
  }

  /** Adds the rows that have a time; tells the GPU. */
  private static String read(Path file, List<Row> rows, String otherwise) throws IOException {
    if (!Files.exists(file)) {
      return otherwise;
    }
    try {
      JsonObject document = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
      for (JsonElement e : document.getAsJsonArray("rows")) {
        JsonObject r = e.getAsJsonObject();
        if (r.has("seconds") && !r.get("seconds").isJsonNull()) {
          double bytes = r.get("bytes").getAsDouble();
          rows.add(
              new Row(
                  r.get("peer").getAsString(),
                  r.get("operation").getAsString(),
                  bytes,
                  bytes / r.get("seconds").getAsDouble() / 1e9));
        }
      }
      return document.getAsJsonObject("info").get("gpu").getAsString();
    } catch (JsonParseException
        | IllegalStateException
        | NullPointerException
        | UnsupportedOperationException e) {
      throw new IOException(file + " is damaged: " + e.getMessage(), e);
    }
  }

  private static JFreeChart chart(Panel p, List<Row> rows) {
    XYSeriesCollection data = new XYSeriesCollection();
    XYLineAndShapeRenderer renderer = new XYLineAndShapeRenderer(false, true);
    double highest = 0;
    for (Map.Entry<String, Color> peer : COLORS.entrySet()) {
      boolean limit = peer.getKey().equals("limit");
      List<Row> shown = limit ? limits(p, rows) : of(p.operations, peer.getKey(), rows);
      if (shown.isEmpty()) {
        continue;
      }
      XYSeries series = new XYSeries(limit ? shown.get(0).operation : peer.getKey(), true, true);
      for (Row r : shown) {
        series.add(Math.log10(r.bytes / 1e6), r.speed);
        highest = Math.max(highest, r.speed);
      }
      int i = data.getSeriesCount();
      data.addSeries(series);
      renderer.setSeriesPaint(i, peer.getValue());
      renderer.setSeriesStroke(i, new BasicStroke(1.5f));
      renderer.setSeriesLinesVisible(i, limit);
      renderer.setSeriesShapesVisible(i, !limit);
      renderer.setSeriesShape(i, new Ellipse2D.Double(-3, -3, 6, 6));
    }
    NumberAxis x = axis("least megabytes to read and write");
    x.setTickUnit(new NumberTickUnit(1, new Decades()));
    x.setAutoRangeIncludesZero(false);
    NumberAxis y = axis("GB/s of them");
    y.setRange(0, 1.08 * highest);
    y.setNumberFormatOverride(
        new DecimalFormat("0", DecimalFormatSymbols.getInstance(Locale.ROOT)));
    XYPlot plot = new XYPlot(data, x, y, renderer);
    plot.setBackgroundPaint(null);
    plot.setOutlineVisible(false);
    plot.setDomainGridlinePaint(GRID);
    plot.setRangeGridlinePaint(GRID);
    plot.setDomainGridlineStroke(new BasicStroke(1));
    plot.setRangeGridlineStroke(new BasicStroke(1));
    JFreeChart chart = new JFreeChart(null, null, plot, false);
    chart.setBackgroundPaint(Color.WHITE);
    TextTitle title = new TextTitle(p.title, font(Font.BOLD, 14));
    title.setPaint(INK);
    chart.setTitle(title);
    LegendTitle names = new LegendTitle(plot);
    names.setItemFont(font(Font.PLAIN, 12));
    names.setPosition(RectangleEdge.BOTTOM);
    names.setFrame(BlockBorder.NONE);
    chart.addLegend(names);
    return chart;
  }

  private static List<Row> of(List<String> operations, String peer, List<Row> rows) {
    return rows.stream()
        .filter(r -> r.peer.equals(peer) && operations.contains(r.operation))
        .toList();
  }

  /** The first of the panel's limits that was measured, by PyTorch or else by ourselves. */
  private static List<Row> limits(Panel p, List<Row> rows) {
    for (String operation : p.limits) {
      for (String peer : List.of("limit", "fusednorm")) {
        List<Row> found = of(List.of(operation), peer, rows);
        if (!found.isEmpty()) {
          return found;
        }
      }
    }
    return List.of();
  }

  private static NumberAxis axis(String label) {
    NumberAxis axis = new NumberAxis(label);
    axis.setLabelFont(font(Font.PLAIN, 12));
    axis.setTickLabelFont(font(Font.PLAIN, 11));
    axis.setLabelPaint(INK);
    return axis;
  }

  private static Font font(int style, int size) {
    return new PlainFont(style, size);
  }

  /** Powers of ten by their exponents. */
  private static final class Decades extends NumberFormat {
    private static final long serialVersionUID = 1;

    @Override
    public StringBuffer format(double v, StringBuffer to, FieldPosition p) {
      double power = Math.pow(10, v);
      return to.append(power < 1 ? Double.toString(power) : Long.toString(Math.round(power)));
    }

    @Override
    public StringBuffer format(long v, StringBuffer to, FieldPosition p) {
      return format((double) v, to, p);
    }

    @Override
    public Number parse(String text, ParsePosition p) {
      throw new UnsupportedOperationException(text);
    }
  }
}
