package org.fusednorm.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Packs everything for a host that has a GPU and its driver, and nothing else. */
@Command(
    name = "bundle",
    description = {
      "Makes one archive that runs on a Linux x86-64 host with no Java and no CUDA toolkit.",
      "",
      "It holds a Java, fusednorm with its kernels, tests, benchmarks and all libraries that they"
          + " need but glibc and, for the GPU, the NVIDIA driver. On the host:",
      "  tar xf FILE && fusednorm/run --help",
      "",
      "Needs a source tree with the tests' dependencies, so start it as ./fusednorm bundle there.",
      ""
    },
    footer = {
      "",
      "Example: for a host whose tar knows gzip only:",
      "  fusednorm bundle --out fusednorm.tar.gz"
    })
final class BundleCommand implements Runnable {
  private static final int STEPS = 4;

  @Mixin private CommonOptions common;
  @Spec private CommandSpec spec;

  @Option(
      names = "--out",
      paramLabel = "FILE",
      description =
          "The archive, named .tar.xz or .tar.gz (half as large again); default"
              + " out/fusednorm-VERSION-linux-x86_64.tar.xz, or .tar.gz where xz is missing here.")
  private Path out;

  @Option(
      names = "--jdk",
      paramLabel = "DIR",
      description =
          "The JDK to take Java from; default a JDK 25 in /usr/lib/jvm, or else the one that runs"
              + " this.")
  private Path jdk;

  BundleCommand() {}

  /** The document of {@code --json}. */
  private record Document(String file, long bytes, String java, String glibc, String glibcOfBlas) {}

  @Override
  public void run() {
    if (common.backend() != null) {
      throw new ParameterException(
          spec.commandLine(),
          "bundle computes nothing, so --backend " + common.backend() + " is" + " of no use");
    }
    try {
      bundle();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void bundle() throws IOException {
    Path file = out != null ? out : Path.of("out", defaultName());
    Bundle.Compression compression = Bundle.Compression.of(file);
    BundleJdk from = jdk != null ? BundleJdk.at(jdk) : BundleJdk.best();
    Document document;
    try (Progress progress = Progress.start("bundle", STEPS, 0);
        Bundle bundle = Bundle.begin()) {
      progress.note("tests compiled");
      bundle.compileTests();
      progress.advance(1);
      progress.note("Java linked");
      bundle.linkJava(from);
      progress.advance(1);
      progress.note("libraries copied");
      bundle.copyLibraries(Main.version());
      progress.advance(1);
      progress.note("packed");
      bundle.pack(file, compression);
      progress.advance(1);
      document =
          new Document(
              file.toString(),
              Files.size(file),
              from.version(),
              bundle.glibc(),
              bundle.glibcOfBlas());
    }
    print(document);
  }

  private static String defaultName() throws IOException {
    String suffix = Tool.isOnPath("xz") ? ".tar.xz" : ".tar.gz";
    return "fusednorm-" + Main.version() + "-linux-x86_64" + suffix;
  }

  private void print(Document d) {
    PrintWriter writer = spec.commandLine().getOut();
    if (common.json()) {
      Json.print(writer, d);
      return;
    }
    writer.printf(
        Locale.ROOT,
        "%s: %.1f MiB with Java %s; needs glibc %s or newer (%s for OpenBLAS).%n",
        d.file(),
        d.bytes() / 1048576.0,
        d.java(),
        d.glibc(),
        d.glibcOfBlas());
    writer.flush();
  }
}
