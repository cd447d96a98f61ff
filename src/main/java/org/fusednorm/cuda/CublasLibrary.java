package org.fusednorm.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.fusednorm.Availability.Part;
import org.fusednorm.host.PrivateFiles;
import org.fusednorm.host.Settings;
import org.fusednorm.host.Unavailable;

/**
 * NVIDIA's library of matrix products, which comes with the CUDA toolkit or with Python's packages
 * and not with the driver. Found and loaded once; where that fails the project's own kernels do its
 * work.
 *
 * <p>JCublas 12.6 asks for {@code libcublas.so.12}. Where there is only {@code libcublas.so.13}, a
 * library of the jar under the older name forwards every function to it. Both are loaded by their
 * full paths before JCublas, whose request for the name they satisfy.
 *
 * <p>It is looked for where {@code -Dfusednorm.cuda.cublas=PATH} says (a file or a folder; {@code
 * off} for nowhere), or else in the folders of {@code LD_LIBRARY_PATH}, of the system's loader, of
 * CUDA toolkits ({@code CUDA_HOME}, {@code CUDA_PATH}, {@code /usr/local/cuda*}, {@code /opt/cuda})
 * and of Python's packages ({@code site-packages/nvidia/cublas/lib} and {@code nvidia/cu13/lib} of
 * {@code VIRTUAL_ENV}, {@code CONDA_PREFIX}, the user and the system); version 12 is taken before
 * 13.
 */
final class CublasLibrary {
  private static final String SETTING = "fusednorm.cuda.cublas";
  private static final String FORWARDING =
      "org/fusednorm/native/linux-x86_64/libfusednorm-cublas12.so";
  private static final String CURE =
      "install cuBLAS of CUDA 12 or 13 (CUDA toolkit, or pip install nvidia-cublas), or name its"
          + " library with -D"
          + SETTING
          + "=PATH; until then plain kernels multiply matrices";

  private static final class Holder {
    static final CublasLibrary FOUND = new CublasLibrary();
  }

  private Path loaded;
  private Unavailable missing;

  /** Finds and loads it at the first call; after CUDA was found to be there. Never throws. */
  static CublasLibrary find() {
    return Holder.FOUND;
  }

  private CublasLibrary() {
    try {
      missing = load();
    } catch (IOException e) {
      missing = new Unavailable(e.getMessage(), "set -Djava.io.tmpdir to a writable directory", e);
    } catch (CudaMissingException e) {
      missing = e.missing();
    } catch (LinkageError e) {
      missing = new Unavailable("JCublas does not load: " + firstLine(e), CURE, e);
    }
  }

  boolean isAvailable() {
    return missing == null;
  }

  /** Why it is missing, or null. */
  Unavailable missing() {
    return missing;
  }

  /** Which library it is. */
  String describe() {
    return loaded + (isForwarded(loaded) ? ", by a forwarding libcublas.so.12" : "");
  }

  Part part() {
    return isAvailable()
        ? Part.of("cuBLAS", describe())
        : Part.missing("cuBLAS", missing.cause(), missing.cure());
  }

  private Unavailable load() throws IOException, CudaMissingException {
    String setting = Settings.get(SETTING);
    if ("off".equals(setting)) {
      return Settings.offSwitch(SETTING);
    }
    List<Path> folders = setting == null ? CublasFolders.list() : List.of(Path.of(setting));
    List<Path> files = files(folders);
    if (files.isEmpty()) {
      String where = setting == null ? "the loader's folders, CUDA's and Python's" : setting;
      return new Unavailable("no libcublas.so.12 or .13 in " + where, CURE);
    }
    Unavailable first = null;
    for (Path file : files) {
      try {
        loadWithItsParts(file);
        loaded = file;
        break;
      } catch (UnsatisfiedLinkError e) {
        if (first == null) {
          first = new Unavailable(file + " does not load: " + firstLine(e), CURE, e);
        }
      }
    }
    if (loaded == null) {
      return first;
    }
    if (isForwarded(loaded) && !loadForwarding()) {
      return new Unavailable(
          "cuBLAS is " + loaded + ", and the jar was built without the library that forwards to it",
          "use the released jar, or install cuBLAS of CUDA 12");
    }
    JCudaNatives.initialize("jcuda.jcublas.JCublas2", "JCublas2");
    return null;
  }

  /** Every libcublas in these folders or files, those of version 12 first. */
  private static List<Path> files(List<Path> places) {
    List<Path> files = new ArrayList<>();
    for (int version = 12; version <= 13; version++) {
      String name = "libcublas.so." + version;
      for (Path place : places) {
        Path file = Files.isDirectory(place) ? place.resolve(name) : place;
        String given = String.valueOf(file.getFileName());
        if (Files.exists(file) && (given.equals(name) || given.startsWith(name + "."))) {
          files.add(file.toAbsolutePath());
        }
      }
    }
    return files;
  }

  private static boolean isForwarded(Path file) {
    return file.getFileName().toString().startsWith("libcublas.so.13");
  }

  /** Its other half lies beside it, where the loader may not look by itself. */
  private static void loadWithItsParts(Path file) {
    Path half =
        file.resolveSibling(file.getFileName().toString().replace("libcublas.", "libcublasLt."));
    if (Files.exists(half)) {
      System.load(half.toString());
    }
    System.load(file.toString());
  }

  private static boolean loadForwarding() throws IOException {
    Path directory = PrivateFiles.directory();
    try {
      Path file = PrivateFiles.extract(CublasLibrary.class.getClassLoader(), FORWARDING, directory);
      if (file != null) {
        System.load(file.toString());
      }
      return file != null;
    } finally {
      PrivateFiles.discard(directory);
    }
  }

  /** JCuda's texts hold whole stack traces: the line that the loader wrote is the one to read. */
  private static String firstLine(LinkageError e) {
    String text = String.valueOf(e.getMessage());
    return text.lines()
        .filter(line -> line.contains("UnsatisfiedLinkError: /"))
        .findFirst()
        .orElse(text.lines().findFirst().orElse(e.toString()))
        .strip();
  }

  /** Where installations put it. */
  private static final class CublasFolders {
    private CublasFolders() {}

    static List<Path> list() {
      Set<Path> folders = new LinkedHashSet<>();
      addAll(folders, System.getenv("LD_LIBRARY_PATH"));
      for (String variable : List.of("CUDA_HOME", "CUDA_PATH")) {
        String home = System.getenv(variable);
        if (home != null && !home.isBlank()) {
          addToolkit(folders, Path.of(home));
        }
      }
      addLoaders(folders);
      children(Path.of("/usr/local"), "cuda*").forEach(home -> addToolkit(folders, home));
      addToolkit(folders, Path.of("/opt/cuda"));
      for (String variable : List.of("VIRTUAL_ENV", "CONDA_PREFIX")) {
        String home = System.getenv(variable);
        if (home != null && !home.isBlank()) {
          folders.add(Path.of(home, "lib"));
          addPython(folders, Path.of(home, "lib"));
        }
      }
      addPython(folders, Path.of(System.getProperty("user.home"), ".local", "lib"));
      addPython(folders, Path.of("/usr/local/lib"));
      addPython(folders, Path.of("/usr/lib"));
      return List.copyOf(folders);
    }

    private static void addAll(Set<Path> folders, String path) {
      if (path != null) {
        Stream.of(path.split(":")).filter(s -> !s.isBlank()).map(Path::of).forEach(folders::add);
      }
    }

    private static void addToolkit(Set<Path> folders, Path home) {
      folders.add(home.resolve("lib64"));
      folders.add(home.resolve("targets/x86_64-linux/lib"));
    }

    /** What the system's loader has beside LD_LIBRARY_PATH. */
    private static void addLoaders(Set<Path> folders) {
      for (Path file : children(Path.of("/etc/ld.so.conf.d"), "*.conf")) {
        try {
          for (String line : Files.readAllLines(file)) {
            if (line.strip().startsWith("/")) {
              folders.add(Path.of(line.strip()));
            }
          }
        } catch (IOException e) {
          // A file that cannot be read names no folder for us.
        }
      }
      addAll(folders, "/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib:/usr/local/lib");
    }

    private static void addPython(Set<Path> folders, Path lib) {
      for (Path python : children(lib, "python3*")) {
        for (String packages : List.of("site-packages", "dist-packages")) {
          folders.add(python.resolve(packages).resolve("nvidia/cublas/lib"));
          folders.add(python.resolve(packages).resolve("nvidia/cu13/lib"));
        }
      }
    }

    /** Newest version first, as far as names tell. */
    private static List<Path> children(Path folder, String glob) {
      List<Path> found = new ArrayList<>();
      try (var stream = Files.newDirectoryStream(folder, glob)) {
        stream.forEach(found::add);
      } catch (IOException e) {
        return List.of();
      }
      found.sort((a, b) -> b.compareTo(a));
      return found;
    }
  }
}
