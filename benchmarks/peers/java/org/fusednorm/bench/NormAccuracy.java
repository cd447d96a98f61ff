package org.fusednorm.bench;

import com.google.gson.GsonBuilder;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * How far each library is from the exact result of each {@link HardInput}: largest |y - exact| / (1
 * + |exact|) of a forward or an inference, and largest error of dx over the largest dx of its
 * channel.
 */
final class NormAccuracy {
  /** A row of the table. */
  private record Row(String input, String layout, String operation, Map<String, String> errors) {}

  private NormAccuracy() {}

  /**
   * Runs.
   *
   * @param args folder of results, commit
   */
  public static void main(String[] args) throws Exception {
    List<Row> rows = new ArrayList<>();
    Map<String, String> versions = new LinkedHashMap<>();
    for (String operation : List.of("forward", "backward", "inference")) {
      for (HardInput input : HardInput.ALL) {
        for (String layout : List.of("NCHW", "NHWC")) {
          NormCase c = NormCase.parse(input.shape(layout), "F32", operation);
          rows.add(new Row(input.toString(), layout, operation, errors(input, c, versions)));
        }
      }
    }
    String table = table(rows);
    System.out.print(table);
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("date", LocalDate.now().toString());
    all.put("commit", args[1]);
    all.put("machine", Machine.describe());
    all.put("versions", versions);
    all.put("rows", rows);
    Path results = Path.of(args[0]);
    String name = "cpu-accuracy-" + LocalDate.now();
    CpuPeersReport.write(results.resolve(name + ".md"), table.getBytes());
    CpuPeersReport.write(
        results.resolve(name + ".json"),
        new GsonBuilder()
            .disableHtmlEscaping()
            .create()
            .toJson(all)
            .replace("{\"input\"", "\n{\"input\"")
            .concat("\n")
            .getBytes());
    System.exit(0); // libraries leave threads behind
  }

  private static Map<String, String> errors(
      HardInput input, NormCase c, Map<String, String> versions) throws Exception {
    NormData data = input.data(c);
    float[] dy = c.operation().isBackward() ? HardInput.array(data.dy(), c) : null;
    double[] expected = input.expected(c, data, dy);
    Map<String, String> errors = new LinkedHashMap<>();
    for (Contender contender : Contender.of(c, false, false)) {
      if (Contender.isLimit(contender.name())) {
        continue;
      }
      try (NormWork work = contender.open(c, data)) {
        work.before();
        work.call();
        errors.put(contender.name(), input.error(c, work.result(), expected));
        versions.put(contender.name(), work.description());
        work.after();
      }
    }
    return errors;
  }

  private static String table(List<Row> rows) {
    StringBuilder text = new StringBuilder();
    List<String> names = List.copyOf(rows.get(0).errors.keySet());
    text.append("| input | operation | layout | ").append(String.join(" | ", names));
    text.append(" |\n| --- | --- | ---").append(" | ---:".repeat(names.size())).append(" |\n");
    for (Row r : rows) {
      text.append("| ").append(r.input).append(" | ").append(r.operation);
      text.append(" | ").append(r.layout);
      for (String name : names) {
        text.append(" | ").append(r.errors.getOrDefault(name, ""));
      }
      text.append(" |\n");
    }
    return text.toString();
  }
}
