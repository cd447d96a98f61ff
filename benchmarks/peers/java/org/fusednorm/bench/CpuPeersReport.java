package org.fusednorm.bench;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonPrimitive;
import com.google.gson.JsonSerializer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.fusednorm.bench.PeerSummary.Entry;

/** Writes what {@link CpuPeers} has measured: a JSON file, a table and a picture. */
final class CpuPeersReport {
  private static final List<String> PEERS =
      List.of(
          Contender.ONEDNN,
          Contender.ONEDNN_APART,
          Contender.ONEDNN_BLOCKED,
          Contender.PYTORCH,
          Contender.JAVA,
          Contender.ND4J,
          Contender.OURS_F32);

  private CpuPeersReport() {}

  /**
   * Runs.
   *
   * @param args record, folder of results, commit, folder of the picture
   */
  public static void main(String[] args) throws IOException {
    Path record = Path.of(args[0]);
    PeerRecord measured = PeerRecord.open(record);
    if (measured.rounds().isEmpty()) {
      throw new IllegalArgumentException(record + " has no measurements");
    }
    Path results = Path.of(args[1]);
    List<PeerSummary> summaries = PeerSummary.of(measured.rounds());
    String kind = record.getFileName().toString().startsWith("all") ? "cpu-peers-all" : "cpu-peers";
    if (summaries.stream().allMatch(s -> s.threads() == 1)) {
      kind += "-one-thread";
    }
    String name = kind + "-" + LocalDate.now();
    String table = table(summaries);
    System.out.print(table);
    write(results.resolve(name + ".json"), json(measured, summaries, args[2]).getBytes());
    write(results.resolve(name + ".md"), table.getBytes());
    write(Path.of(args[3]).resolve(kind + ".png"), CpuPeersFigure.png(summaries));
  }

  /** Whole or not at all. */
  static void write(Path file, byte[] content) throws IOException {
    Files.createDirectories(file.getParent());
    Path unfinished = Files.createTempFile(file.getParent(), "cpu-peers", ".tmp");
    Files.write(unfinished, content);
    Files.move(
        unfinished, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    System.err.println("written: " + file);
  }

  /** For each number of threads a table in Markdown. */
  private static String table(List<PeerSummary> summaries) {
    StringBuilder text = new StringBuilder();
    for (int threads : new TreeSet<>(summaries.stream().map(PeerSummary::threads).toList())) {
      text.append(threads).append(threads == 1 ? " thread" : " threads");
      text.append(". Time of a peer over ours; 'limit' and 'of it': time of the least traffic\n");
      text.append("without arithmetic, and that over our time.\n\n");
      row(
          text,
          "shape",
          "type",
          "operation",
          "limit",
          "fusednorm",
          "of it",
          "rounds",
          String.join(" | ", PEERS));
      row(
          text,
          "---",
          "---",
          "---",
          "---:",
          "---:",
          "---:",
          "---:",
          "---: | ".repeat(PEERS.size() - 1) + "---:");
      for (PeerSummary s : summaries) {
        if (s.threads() == threads) {
          Entry ours = s.entries().get(Contender.OURS);
          row(
              text,
              s.norm().shapeText(),
              s.norm().type().name(),
              s.norm().operation().toString(),
              PeerRecord.time(s.limit()),
              PeerRecord.time(ours.seconds()),
              String.format(Locale.ROOT, "%.2f", ours.ofLimit()),
              Integer.toString(ours.overOursByRound().length),
              PEERS.stream()
                  .map(p -> s.entries().get(p))
                  .map(e -> e == null ? "" : String.format(Locale.ROOT, "%.2f", e.overOurs()))
                  .collect(Collectors.joining(" | ")));
        }
      }
      text.append('\n');
    }
    return text.toString();
  }

  private static void row(StringBuilder text, String... cells) {
    text.append("| ").append(String.join(" | ", cells)).append(" |\n");
  }

  private static String json(PeerRecord measured, List<PeerSummary> summaries, String commit)
      throws IOException {
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("date", LocalDate.now().toString());
    all.put("commit", commit);
    all.put("machine", Machine.describe());
    all.put("MALLOC_CONF", System.getenv("MALLOC_CONF"));
    all.put(
        "meaning",
        "seconds of a call: rounds > iterations of one fork; 'overOurs' is the median of the"
            + " ratios of the rounds, a round being the median of its iterations; limit is the"
            + " faster of the two kinds of stores");
    List<Map<String, Object>> contests = new ArrayList<>();
    for (PeerSummary s : summaries) {
      Map<String, Object> contest = new LinkedHashMap<>();
      contest.put("shape", s.norm().shapeText());
      contest.put("type", s.norm().type().name());
      contest.put("operation", s.norm().operation().toString());
      contest.put("threads", s.threads());
      contest.put("bytes", s.norm().bytes());
      contest.put("limitSeconds", s.limit());
      contest.put("contenders", s.entries());
      Map<String, List<List<Double>>> raw = new LinkedHashMap<>();
      measured.rounds().stream()
          .filter(r -> r.threads() == s.threads() && r.norm().equals(s.norm()))
          .flatMap(r -> r.measurements().stream())
          .forEach(
              m -> raw.computeIfAbsent(m.contender(), n -> new ArrayList<>()).add(m.seconds()));
      contest.put("rounds", raw);
      contests.add(contest);
    }
    all.put("contests", contests);
    all.put("checks", measured.checks());
    // A line for each contest: the file is for programs, but differences of two should be readable.
    Gson gson =
        new GsonBuilder()
            .disableHtmlEscaping()
            .serializeSpecialFloatingPointValues()
            .registerTypeAdapter(
                Double.class, (JsonSerializer<Double>) (v, t, c) -> new JsonPrimitive(rounded(v)))
            .registerTypeAdapter(
                double.class, (JsonSerializer<Double>) (v, t, c) -> new JsonPrimitive(rounded(v)))
            .create();
    return gson.toJson(all)
            .replace("{\"shape\"", "\n{\"shape\"")
            .replace("\"checks\":", "\n\"checks\":")
        + "\n";
  }

  private static Number rounded(double v) {
    return Double.isFinite(v) ? Double.valueOf(String.format(Locale.ROOT, "%.4g", v)) : v;
  }
}
