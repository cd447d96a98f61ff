package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.fusednorm.testing.Required;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * {@code benchmarks/gpu/run} with a bundle and tools that are made up here: which stages it runs,
 * for how long, and what it leaves. With the real bundle it runs in {@code .ci/bundle-test}.
 */
@Timeout(120)
class GpuRunTest {
  private static final String RUN =
      """
      #!/bin/sh
      case $1 in
        info) echo 'chosen: cuda' ;;
        verify)
          echo $$ >"$MADE_UP/verify.pid"
          [ ! -e "$MADE_UP/slow" ] || sleep 100
          echo "2 of 2 comparisons hold"
          ;;
        class) echo 'NC:8x4 F32 forward: 7 GB/s, done once' ;;
        test) ;;
        *) exit 3 ;;
      esac
      """;

  /** Notes how it was called, then does what it was given to do. */
  private static final String NCU =
      """
      #!/bin/sh
      [ "$1" != --version ] || exit 0
      echo "$*" >"$MADE_UP/ncu.called"
      while [ "${1##*/}" != run ]; do shift; done
      "$@"
      """;

  private static final String SANITIZER =
      """
      #!/bin/sh
      echo 'Error: Device not supported'
      exit 1
      """;

  @TempDir private Path folder;

  private Path results;

  private record Outcome(int exit, String out, String err) {}

  @BeforeEach
  void makeBundle() throws Exception {
    Required.assume(
        "linux", System.getProperty("os.name").equals("Linux"), "needs timeout and tar");
    Required.assume("sources", Files.exists(Path.of("benchmarks/gpu/run")), "not a source tree");
    results = folder.resolve("results");
    Files.createDirectories(folder.resolve("fusednorm"));
    Files.createDirectories(folder.resolve("bin"));
    Files.writeString(folder.resolve("fusednorm/version"), "0.0 made up\n");
    program("fusednorm/run", RUN);
    program("bin/ncu", NCU);
    program("bin/compute-sanitizer", SANITIZER);
    Process tar =
        new ProcessBuilder("tar", "-cf", "bundle.tar", "fusednorm")
            .directory(folder.toFile())
            .start();
    assertEquals(0, tar.waitFor());
  }

  private void program(String name, String text) throws IOException {
    Path file = folder.resolve(name);
    Files.writeString(file, text);
    assertTrue(file.toFile().setExecutable(true));
  }

  private Process start(String... arguments) throws IOException {
    List<String> command = new ArrayList<>(List.of("benchmarks/gpu/run"));
    command.addAll(List.of(arguments));
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().put("PATH", folder.resolve("bin") + ":" + System.getenv("PATH"));
    builder.environment().put("MADE_UP", folder.toString());
    builder.environment().put("TMPDIR", Files.createDirectories(folder.resolve("tmp")).toString());
    builder.redirectOutput(folder.resolve("out").toFile());
    builder.redirectError(folder.resolve("err").toFile());
    return builder.start();
  }

  private Outcome run(String... arguments) throws Exception {
    return await(start(arguments));
  }

  private Outcome await(Process process) throws Exception {
    try {
      assertTrue(process.waitFor(60, TimeUnit.SECONDS), "it does not end");
    } finally {
      process.destroyForcibly();
    }
    return new Outcome(
        process.exitValue(),
        Files.readString(folder.resolve("out")),
        Files.readString(folder.resolve("err")));
  }

  private Outcome stages(String names, int seconds) throws Exception {
    return run(
        "--stages", names, "" + seconds, folder.resolve("bundle.tar").toString(), "" + results);
  }

  private String table() throws IOException {
    return Files.readString(results.resolve("table.md"));
  }

  private String archived() throws Exception {
    String archive = results.resolve("results.tar.gz").toString();
    Process tar = new ProcessBuilder("tar", "-tzf", archive).start();
    String names = new String(tar.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, tar.waitFor());
    return names;
  }

  /** The seconds that a stage was allowed. */
  private int limit(String stage) throws IOException {
    Matcher row =
        Pattern.compile("\\| " + stage + " \\| \\d+ \\| \\w+ \\| \\d+ \\| (\\d*) \\|")
            .matcher(table());
    assertTrue(row.find(), () -> stage + " is not in the table");
    return Integer.parseInt(row.group(1));
  }

  @Test
  void stagesAreChosenAndShareTheTimeByWeight() throws Exception {
    Outcome o = stages("ncu,ours,verify", 1000);
    assertEquals(0, o.exit, o.out + o.err);
    // 985 s, the last 15 being kept: of 12 + 14 + 4, then of 14 + 4, then all.
    assertEquals(985 * 12 / 30.0, limit("verify"), 10);
    assertEquals(985 * 14 / 18.0, limit("ours"), 20);
    assertEquals(985, limit("ncu"), 25);
    String table = table();
    assertTrue(table.indexOf("| verify |") < table.indexOf("| ours |"), table);
    assertTrue(table.contains("Not run: test, peers, memcheck, "), table);
    String called = Files.readString(folder.resolve("ncu.called"));
    assertTrue(called.contains("--clock-control none "), called);
    for (String file : new String[] {"table.md", "verify.txt", "ours.txt", "ncu.txt", "host.txt"}) {
      assertTrue(archived().contains("results/" + file + "\n"), file);
    }
    assertFalse(archived().contains("results.tar.gz"));
    assertTrue(o.out.contains("results.tar.gz ("), o.out);
  }

  @Test
  void anotherVisitAddsToTheFirst() throws Exception {
    assertEquals(0, stages("verify", 100).exit);
    Outcome o = stages("ours", 100);
    assertEquals(0, o.exit, o.out + o.err);
    String table = table();
    assertTrue(table.contains("| verify | 1 | ok |"), table);
    assertTrue(table.contains("| ours | 2 | ok |"), table);
    assertTrue(table.contains("Visit 2: "), table);
    assertTrue(archived().contains("results/verify.txt"));
  }

  @Test
  void withTooLittleTimeTheFirstStagesRun() throws Exception {
    Outcome o = stages("verify,ours", 10);
    assertEquals(1, o.exit, o.out + o.err);
    assertTrue(table().contains("| verify | 1 | skipped | 0 |  | no time left |"), table());
    o = stages("verify,ours,training,bench", 30); // its part of them would be 10
    assertTrue(table().contains("| verify | 2 | ok |"), table());
    assertEquals(15, limit("verify"));
  }

  @Test
  void whoIsInterruptedKeepsWhatThereIs() throws Exception {
    Files.createFile(folder.resolve("slow"));
    Process process =
        start("--stages=verify,ours", "100", folder + "/bundle.tar", results.toString());
    Path pid = folder.resolve("verify.pid");
    while (!Files.exists(pid) || Files.size(pid) == 0) {
      assertTrue(process.isAlive());
      Thread.sleep(20);
    }
    process.destroy();
    Outcome o = await(process);
    assertEquals(143, o.exit, o.out + o.err);
    assertTrue(table().contains("| verify | 1 | stopped |"), table());
    assertFalse(table().contains("| ours |"), table());
    assertTrue(archived().contains("results/verify.txt"));
    long of = Long.parseLong(Files.readString(pid).strip());
    assertFalse(ProcessHandle.of(of).map(ProcessHandle::isAlive).orElse(false));
    try (var left = Files.list(folder.resolve("tmp"))) {
      assertEquals(List.of(), left.toList());
    }
  }

  @Test
  void refusedIsNotFailedAndSilenceIsNotSuccess() throws Exception {
    Outcome o = stages("memcheck", 100);
    assertEquals(0, o.exit, o.out + o.err);
    assertTrue(table().contains("| memcheck | 1 | refused |"), table());
    o = stages("test,train", 100);
    assertEquals(1, o.exit, o.out + o.err);
    assertTrue(table().contains("| test | 2 | failed |"), table());
    assertTrue(Pattern.compile("train \\| 2 \\| failed .* code 3").matcher(table()).find());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'' | how many seconds?",
        "x | SECONDS must be a whole number",
        "0 | SECONDS must be a whole number",
        "9 b c d | too many arguments, from 'd' on",
        "--what 9 | there is no option --what",
        "--stages | --stages needs names",
        "--stages= 9 | --stages needs names",
        "--stages verify,cake 9 | there is no stage 'cake', but: verify test",
        "9 /nowhere/bundle.tar | /nowhere/bundle.tar cannot be read",
        "9 benchmarks/gpu/run /dev/null/folder | no folder can be made at /dev/null/folder"
      })
  void wrongArgumentsAreOneLine(String arguments, String told) throws Exception {
    Outcome o = run(arguments.isEmpty() ? new String[0] : arguments.split(" "));
    assertEquals(2, o.exit);
    assertEquals("", o.out);
    assertTrue(o.err.startsWith("gpu/run: " + told), o.err);
    assertEquals(1, o.err.lines().count(), o.err);
  }

  @Test
  void helpNamesEveryStageAndSetting() throws Exception {
    Outcome o = run("--help");
    assertEquals(0, o.exit);
    String script = Files.readString(Path.of("benchmarks/gpu/run"));
    Matcher used = Pattern.compile("\\$\\{([A-Z][A-Z_]+):-").matcher(script);
    while (used.find()) {
      String name = used.group(1);
      assertTrue(name.equals("TMPDIR") || o.out.contains("\n  " + name + " "), name);
    }
    String perform =
        script.substring(script.indexOf("\nperform()"), script.indexOf("\nhindrance()"));
    Matcher stage = Pattern.compile("(?m)^    ([a-z-]+)\\)").matcher(perform);
    while (stage.find()) {
      String name = stage.group(1);
      assertTrue(Pattern.compile("\n  " + name + " +\\d+ ").matcher(o.out).find(), name);
    }
  }
}
