package org.fusednorm.bench;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.geom.Rectangle2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.text.DecimalFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.imageio.ImageIO;
import org.fusednorm.DType;
import org.fusednorm.bench.NormCase.Operation;
import org.jfree.chart.JFreeChart;
import org.jfree.chart.axis.CategoryAxis;
import org.jfree.chart.axis.NumberAxis;
import org.jfree.chart.axis.NumberTickUnit;
import org.jfree.chart.block.BlockBorder;
import org.jfree.chart.labels.StandardCategoryItemLabelGenerator;
import org.jfree.chart.plot.CategoryPlot;
import org.jfree.chart.renderer.category.BarRenderer;
import org.jfree.chart.renderer.category.StandardBarPainter;
import org.jfree.chart.title.LegendTitle;
import org.jfree.chart.title.TextTitle;
import org.jfree.chart.ui.HorizontalAlignment;
import org.jfree.chart.ui.RectangleEdge;
import org.jfree.data.category.DefaultCategoryDataset;

/** Bars of all peers side by side, as fractions of the limit of the machine's memory. */
final class CpuPeersFigure {
  private static final int LEAST_WIDTH = 1000;

  /** Of a group of bars, so that the shape below it is not cut. */
  private static final int GROUP = 140;

  private static final int PANEL = 300;
  private static final int LEGEND = 24;
  private static final int SCALE = 2;

  /** Smaller data stays in the caches, whose limit is not the memory's. */
  private static final long LEAST_BYTES = 16L << 20;

  private static final Color INK = new Color(0x222222);
  private static final Color GRID = new Color(0xe2e2e2);

  /** Of Okabe and Ito: told apart with any color vision. */
  private static final Map<String, Color> COLORS = new LinkedHashMap<>();

  static {
    COLORS.put(Contender.OURS, new Color(0x0072b2));
    COLORS.put(Contender.ONEDNN_BLOCKED, new Color(0xe69f00));
    COLORS.put(Contender.ONEDNN, new Color(0xd55e00));
    COLORS.put(Contender.PYTORCH, new Color(0x009e73));
    COLORS.put(Contender.JAVA, new Color(0x999999));
  }

  private CpuPeersFigure() {}

  /** A panel for each operation, a group of bars for each shape that is larger than the caches. */
  static byte[] png(List<PeerSummary> summaries) throws IOException {
    System.setProperty("java.awt.headless", "true");
    int threads = summaries.stream().mapToInt(PeerSummary::threads).max().orElse(1);
    List<PeerSummary> shown =
        summaries.stream()
            .filter(s -> s.threads() == threads && s.norm().type() == DType.F32)
            .filter(s -> s.norm().bytes() >= LEAST_BYTES)
            .toList();
    Operation[] operations = {Operation.FORWARD, Operation.BACKWARD, Operation.INFERENCE};
    long shapes = shown.stream().map(s -> s.norm().shapeText()).distinct().count();
    int width = (int) Math.max(LEAST_WIDTH, GROUP * shapes);
    int height = PANEL * operations.length + LEGEND;
    BufferedImage image =
        new BufferedImage(SCALE * width, SCALE * height, BufferedImage.TYPE_INT_RGB);
    Graphics2D g = image.createGraphics();
    g.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
    g.setRenderingHint(
        RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
    g.scale(SCALE, SCALE);
    for (int i = 0; i < operations.length; i++) {
      Operation o = operations[i];
      String title = o + ", F32, " + threads + (threads == 1 ? " thread" : " threads");
      boolean last = i == operations.length - 1;
      panel(title, shown.stream().filter(s -> s.norm().operation() == o).toList(), last)
          .draw(g, new Rectangle2D.Double(0, i * PANEL, width, PANEL + (last ? LEGEND : 0)));
    }
    g.dispose();
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    ImageIO.write(image, "png", bytes);
    return bytes.toByteArray();
  }

  private static JFreeChart panel(String title, List<PeerSummary> summaries, boolean legend) {
    DefaultCategoryDataset data = new DefaultCategoryDataset();
    double largest = 0;
    for (String contender : COLORS.keySet()) {
      for (PeerSummary s : summaries) {
        PeerSummary.Entry e = s.entries().get(contender);
        Double percent = e == null ? null : 100 * e.ofLimit();
        largest = Math.max(largest, percent == null ? 0 : percent);
        data.addValue(percent, contender, s.norm().shapeText().replace(":", " "));
      }
    }
    BarRenderer renderer = new BarRenderer();
    renderer.setBarPainter(new StandardBarPainter());
    renderer.setShadowVisible(false);
    renderer.setItemMargin(0);
    renderer.setSeriesItemLabelGenerator(
        0, new StandardCategoryItemLabelGenerator("{2}", new DecimalFormat("0")));
    renderer.setSeriesItemLabelsVisible(0, true);
    renderer.setSeriesItemLabelFont(0, font(Font.PLAIN, 10));
    for (int i = 0; i < data.getRowCount(); i++) {
      renderer.setSeriesPaint(i, COLORS.get((String) data.getRowKey(i)));
    }
    NumberAxis y = new NumberAxis("% of the memory's limit");
    y.setRange(0, Math.max(100, largest) + 10);
    y.setTickUnit(new NumberTickUnit(20));
    y.setLabelFont(font(Font.PLAIN, 12));
    y.setTickLabelFont(font(Font.PLAIN, 11));
    CategoryAxis x = new CategoryAxis();
    x.setTickLabelFont(font(Font.PLAIN, 11));
    x.setMaximumCategoryLabelLines(2);
    x.setCategoryMargin(0.25);
    x.setLowerMargin(0.01);
    x.setUpperMargin(0.01);
    CategoryPlot plot = new CategoryPlot(data, x, y, renderer);
    plot.setBackgroundPaint(null);
    plot.setOutlineVisible(false);
    plot.setRangeGridlinePaint(GRID);
    plot.setRangeGridlineStroke(new BasicStroke(1));
    JFreeChart chart = new JFreeChart(null, null, plot, false);
    chart.setBackgroundPaint(Color.WHITE);
    TextTitle heading = new TextTitle(title, font(Font.BOLD, 14));
    heading.setPaint(INK);
    heading.setHorizontalAlignment(HorizontalAlignment.LEFT);
    chart.setTitle(heading);
    if (legend) {
      LegendTitle names = new LegendTitle(plot);
      names.setItemFont(font(Font.PLAIN, 12));
      names.setPosition(RectangleEdge.BOTTOM);
      names.setFrame(BlockBorder.NONE);
      chart.addLegend(names);
    }
    return chart;
  }

  private static Font font(int style, int size) {
    return new Font(Font.SANS_SERIF, style, size);
  }
}
