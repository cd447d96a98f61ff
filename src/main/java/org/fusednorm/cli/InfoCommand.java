package org.fusednorm.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.net.URL;
import java.util.List;
import java.util.Locale;
import org.fusednorm.Availability;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.Choice;
import org.fusednorm.host.NativeLibrary;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

/** Tells what there is, what is missing, why, and what to do about it. */
@Command(
    name = "info",
    description = {
      "Tells what can compute here, and the cause and cure of what is missing.",
      "",
      "Lists the backends, best first, and what they are made of; says which one is chosen.",
      ""
    },
    footer = {
      "",
      "Example: why is the GPU not used?",
      "  fusednorm info --backend cuda",
      "",
      "-Dfusednorm.backend=NAME or the environment variable FUSEDNORM_BACKEND forces a backend."
    })
final class InfoCommand implements Runnable {
  private static final int WIDTH = 100;
  private static final String PLATFORMS =
      "Linux x86-64 gets the native library and OpenBLAS, and finds NVIDIA GPUs. macOS, Windows and"
          + " arm64 Linux compute with the plain-Java kernels on the CPU: the same API and accuracy, more slowly.";

  @Mixin private CommonOptions common;
  @Spec private CommandSpec spec;

  InfoCommand() {}

  /** The document of {@code --json}. */
  private record Info(
      String version,
      Java java,
      Machine machine,
      Native nativeLibrary,
      List<Availability> backends,
      Chosen chosen,
      String platforms) {}

  private record Java(String version, String vm) {}

  private record Native(boolean available, String version, String from, String cause, String cure) {
    static Native here() {
      if (!NativeLibrary.isAvailable()) {
        String cause = NativeLibrary.unavailabilityCause();
        return new Native(false, "", "", cause, NativeLibrary.unavailabilityCure());
      }
      URL classes = NativeLibrary.class.getResource("NativeLibrary.class");
      boolean jar = classes != null && classes.getProtocol().equals("jar");
      String from = jar ? "the jar" : "the class path";
      return new Native(true, NativeLibrary.version(), from, "", "");
    }
  }

  /** What a command without further options computes on. */
  private record Chosen(
      String backend, boolean forced, boolean available, String description, String reason) {}

  @Override
  public void run() {
    Info info = gather();
    PrintWriter out = spec.commandLine().getOut();
    if (common.json()) {
      Json.print(out, info);
    } else {
      print(out, info);
      out.flush();
    }
  }

  private Info gather() {
    String only = common.backend();
    Choice choice =
        only == null ? Backends.choice() : new Choice(only, true, "asked for by --backend");
    List<Availability> backends = Backends.availability();
    String name = choice.spec().split(":", 2)[0].toLowerCase(Locale.ROOT);
    if (backends.stream().noneMatch(a -> a.name().equals(name))) {
      CommonOptions.open(choice.spec()).close(); // throws, with the names that there are
    }
    if (only != null) {
      backends = backends.stream().filter(a -> a.name().equals(name)).toList();
    }
    boolean available = backends.stream().anyMatch(a -> a.name().equals(name) && a.available());
    return new Info(
        version(),
        new Java(Runtime.version().toString(), System.getProperty("java.vm.name")),
        Machine.here(),
        Native.here(),
        backends,
        new Chosen(
            choice.spec(),
            choice.forced(),
            available,
            available ? describe(choice.spec()) : "",
            choice.reason()),
        PLATFORMS);
  }

  private static String describe(String spec) {
    try (Backend b = CommonOptions.open(spec)) {
      return b.description();
    }
  }

  private static String version() {
    try {
      return new Main.Version().getVersion()[0].replace("fusednorm ", "");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void print(PrintWriter out, Info info) {
    Machine m = info.machine();
    line(out, 0, "fusednorm", info.version());
    line(out, 0, "Java", info.java().version() + ", " + info.java().vm());
    line(out, 0, "system", m.os() + " " + m.arch());
    line(out, 0, "processor", m.processor());
    line(out, 2, "instructions", String.join(" ", m.instructionSets()));
    line(out, 2, "cores", Integer.toString(m.cores()));
    line(out, 2, "memory", gib(m.memoryBytes()) + ", Java heap at most " + gib(m.heapBytes()));
    Native n = info.nativeLibrary();
    line(
        out,
        0,
        "native library",
        n.available() ? n.version() + " from " + n.from() : "unavailable");
    missing(out, n.cause(), n.cure());
    out.println();
    out.println("Backends, best first");
    for (Availability a : info.backends()) {
      line(out, 0, a.name(), (a.available() ? "available: " : "unavailable ") + a.detail());
      missing(out, a.cause(), a.cure());
      for (Availability.Part p : a.parts()) {
        line(out, 2, p.name(), p.value().isEmpty() ? "missing" : p.value());
        if (!p.cause().isEmpty()) {
          line(out, 4, "cause", p.cause());
          line(out, 4, "cure", p.cure());
        }
      }
    }
    out.println();
    Chosen c = info.chosen();
    line(out, 0, "chosen", c.backend() + (c.available() ? "" : ", which is unavailable"));
    line(out, 2, "reason", c.reason());
    line(out, 0, "platforms", info.platforms());
  }

  private static void missing(PrintWriter out, String cause, String cure) {
    line(out, 2, "cause", cause);
    line(out, 2, "cure", cure);
  }

  private static String gib(long bytes) {
    return String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1 << 30));
  }

  /** Name and text side by side, the text wrapped; nothing for an empty text. */
  private static void line(PrintWriter out, int indent, String name, String text) {
    if (text.isBlank()) {
      return;
    }
    StringBuilder line = new StringBuilder(" ".repeat(indent)).append(name);
    int column = 20;
    line.append(" ".repeat(Math.max(1, column - line.length())));
    int start = line.length();
    for (String word : text.strip().split(" ")) {
      if (line.length() + word.length() > WIDTH && line.length() > start) {
        out.println(line.toString().stripTrailing());
        line.setLength(0);
        line.append(" ".repeat(column));
        start = column;
      }
      line.append(word).append(' ');
    }
    out.println(line.toString().stripTrailing());
  }
}
