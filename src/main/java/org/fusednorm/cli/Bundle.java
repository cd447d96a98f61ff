package org.fusednorm.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import java.util.zip.ZipOutputStream;

/**
 * The folder that becomes a bundle: {@code java}, {@code lib} with the jars, {@code system} with
 * shared libraries that a host may lack, the script {@code run} and a file {@code version}. It is
 * built below {@code target} of the source tree and deleted when closed.
 */
final class Bundle implements AutoCloseable {
  private static final String ROOT = "fusednorm.root";
  private static final String FOLDER = "bundle-";
  private static final String NAME = "fusednorm";

  /**
   * What a bundle does without: the PTX compiler and run-time binding of JCuda, whose driver API is
   * all that is used; OpenBLAS's bindings with LAPACK; headers.
   */
  private static final Pattern LEFT_OUT =
      Pattern.compile(
          "lib/libJ(NvPTXCompiler|Nvrtc|CudaRuntime|Cublas)-.*"
              + "|org/bytedeco/.*/(libjniopenblas(_full)?\\.so|include/.*|lib/.*)");

  /** How the archive is packed, by the end of its name. */
  enum Compression {
    XZ("xz -T0 -3"),
    GZ("gzip -9");

    private final String command;

    Compression(String command) {
      this.command = command;
    }

    /**
     * @throws UserError if the name has neither end, or the program is not there
     */
    static Compression of(Path file) {
      for (Compression c : values()) {
        if (file.toString().endsWith(".tar." + c.name().toLowerCase(Locale.ROOT))) {
          String program = c.command.split(" ")[0];
          if (!Tool.isOnPath(program)) {
            throw new UserError(file + " needs " + program + " on the PATH");
          }
          return c;
        }
      }
      throw new UserError("--out must end in .tar.xz or .tar.gz, not " + file);
    }
  }

  private final Path root;
  private final Path work;
  private final Path folder;
  private List<Path> classPath;

  private Bundle(Path root, Path work) {
    this.root = root;
    this.work = work;
    folder = work.resolve(NAME);
  }

  /**
   * Makes the folder, and deletes those of processes that were killed.
   *
   * @throws UserError on other platforms, or without a source tree
   */
  static Bundle begin() throws IOException {
    String platform = System.getProperty("os.name") + " " + System.getProperty("os.arch");
    if (!platform.equals("Linux amd64")) {
      throw new UserError("a bundle can be made on Linux x86-64 only, not on " + platform);
    }
    String tree = System.getProperty(ROOT);
    if (tree == null || !Files.exists(Path.of(tree, "pom.xml"))) {
      throw new UserError(
          "bundle needs a source tree"
              + (tree == null ? "" : ", which " + tree + " is not")
              + ": start it as ./fusednorm bundle there");
    }
    Path root = Path.of(tree).toAbsolutePath();
    Path target = Files.createDirectories(root.resolve("target"));
    try (DirectoryStream<Path> left = Files.newDirectoryStream(target, FOLDER + "[0-9]*")) {
      for (Path each : left) {
        String pid = each.getFileName().toString().substring(FOLDER.length());
        if (ProcessHandle.of(Long.parseLong(pid)).isEmpty()) {
          delete(each);
        }
      }
    }
    Path work = target.resolve(FOLDER + ProcessHandle.current().pid());
    delete(work);
    Files.createDirectories(work.resolve(NAME).resolve("lib"));
    return new Bundle(root, work);
  }

  /** Compiles what the launcher leaves out, and asks Maven for every jar. */
  void compileTests() throws IOException {
    Path list = work.resolve("classpath");
    Tool.run(
        root,
        List.of(
            "mvn",
            "-B",
            "-q",
            "-Dstyle.color=never",
            "-DskipTests",
            "-DincludeScope=test",
            "-Dmdep.outputFile=" + list,
            "test-compile",
            "dependency:build-classpath"));
    classPath = Stream.of(Files.readString(list).strip().split(":")).map(Path::of).toList();
  }

  void linkJava(BundleJdk jdk) throws IOException {
    jdk.link(folder.resolve("java"));
  }

  /** Fills {@code lib} and {@code system} and writes {@code run} and {@code version}. */
  void copyLibraries(String version) throws IOException {
    Path lib = folder.resolve("lib");
    Path natives = Files.createDirectories(work.resolve("natives"));
    for (Path jar : classPath) {
      try (InputStream in = Files.newInputStream(jar);
          OutputStream out = Files.newOutputStream(lib.resolve(jar.getFileName()))) {
        copyJar(in, out, natives.resolve(jar.getFileName()));
      }
    }
    packClasses(root.resolve("target/classes"), lib.resolve("fusednorm.jar"));
    packClasses(root.resolve("target/test-classes"), lib.resolve("fusednorm-tests.jar"));
    SharedLibraries.copyNeeded(
        List.of(folder.resolve("java"), natives), work, folder.resolve("system"));
    Path run = folder.resolve("run");
    try (InputStream in = Bundle.class.getResourceAsStream("bundle-run.sh")) {
      Files.copy(in, run);
    }
    if (!run.toFile().setExecutable(true, false)) {
      throw new IOException(run + " cannot be made executable");
    }
    Files.writeString(folder.resolve("version"), version + commit() + "\n");
    for (String text : List.of("LICENSE", "NOTICE")) {
      Files.copy(root.resolve(text), folder.resolve(text));
    }
  }

  /** The commit, and a plus sign if files differ from it; nothing where git does not tell. */
  private String commit() throws IOException {
    try {
      String head = Tool.run(root, List.of("git", "rev-parse", "HEAD"));
      String changes = Tool.run(root, List.of("git", "status", "--porcelain", "-uno"));
      return " " + head + (changes.isEmpty() ? "" : "+");
    } catch (UserError e) {
      return "";
    }
  }

  /** Copies a jar without what is left out, stored: the archive compresses better. */
  private static void copyJar(InputStream from, OutputStream to, Path natives) throws IOException {
    try (ZipInputStream in = new ZipInputStream(from);
        ZipOutputStream out = new ZipOutputStream(to)) {
      out.setLevel(0);
      for (ZipEntry entry = in.getNextEntry(); entry != null; entry = in.getNextEntry()) {
        String name = entry.getName();
        if (LEFT_OUT.matcher(name).matches()) {
          continue;
        }
        byte[] content = in.readAllBytes();
        out.putNextEntry(new ZipEntry(name));
        out.write(content);
        out.closeEntry();
        if (SharedLibraries.isName(name)) {
          Files.createDirectories(natives);
          Files.write(natives.resolve(name.substring(name.lastIndexOf('/') + 1)), content);
        }
      }
    }
  }

  private static void packClasses(Path classes, Path jar) throws IOException {
    try (Stream<Path> files = Files.walk(classes);
        ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(jar))) {
      out.setLevel(0);
      for (Path file : files.filter(f -> !f.equals(classes)).sorted().toList()) {
        // Folders too: JUnit looks for a package's classes in its folder.
        boolean directory = Files.isDirectory(file);
        out.putNextEntry(new ZipEntry(classes.relativize(file) + (directory ? "/" : "")));
        if (!directory) {
          Files.copy(file, out);
        }
        out.closeEntry();
      }
    }
  }

  /** The oldest glibc that Java, JCuda and the kernels run on, such as 2.17. */
  String glibc() throws IOException {
    return SharedLibraries.glibc(work, library -> !ofBlas(library) && !ofSystem(library));
  }

  /** The oldest glibc that OpenBLAS runs on; without it plain Java does its work. */
  String glibcOfBlas() throws IOException {
    return SharedLibraries.glibc(work, Bundle::ofBlas);
  }

  /** These are used where the host has none of its own, as new as it may be. */
  private static boolean ofSystem(Path library) {
    return library.getParent().endsWith("system");
  }

  private static boolean ofBlas(Path library) {
    String jar = library.getParent().getFileName().toString();
    return jar.startsWith("openblas") || jar.startsWith("javacpp");
  }

  /** Writes the archive, whole or not at all. */
  void pack(Path file, Compression compression) throws IOException {
    Path part = WholeFile.unfinished(file);
    try {
      Tool.run(
          work,
          List.of(
              "tar",
              "--use-compress-program=" + compression.command,
              "--sort=name",
              "--owner=0",
              "--group=0",
              "--numeric-owner",
              "-cf",
              part.toString(),
              NAME));
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }

  @Override
  public void close() throws IOException {
    delete(work);
  }

  private static void delete(Path tree) throws IOException {
    if (!Files.exists(tree)) {
      return;
    }
    try (Stream<Path> files = Files.walk(tree)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }
}
