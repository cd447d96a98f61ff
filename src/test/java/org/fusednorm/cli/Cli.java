package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.PrintWriter;
import java.io.StringWriter;
import picocli.CommandLine;

/** What a run of the command line printed, and its exit code. */
record Cli(int code, String out, String err) {
  /** The longest line that a table may have. */
  private static final int WIDTH = 100;

  static Cli run(String... args) {
    return run(Main.commandLine(), args);
  }

  static Cli run(CommandLine commandLine, String... args) {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    commandLine.setOut(new PrintWriter(out)).setErr(new PrintWriter(err));
    int code = Main.run(commandLine, args);
    return new Cli(code, out.toString(), err.toString());
  }

  /** Standard output as one JSON document and nothing else. */
  JsonObject json() {
    assertEquals(0, code, err);
    return strictJson();
  }

  /** The same for a command that failed a check. */
  JsonObject strictJson() {
    return JsonParser.parseString(out).getAsJsonObject();
  }

  void assertReadable() {
    out.lines().forEach(l -> assertEquals(true, l.length() <= WIDTH, "too long: " + l));
  }

  /** Bad usage or input: this one line, and nothing on standard output. */
  void assertRefused(String line) {
    assertEquals(line + System.lineSeparator(), err);
    assertEquals("", out);
    assertEquals(2, code);
  }
}
