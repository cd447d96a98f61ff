package org.fusednorm.cpu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Locale;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.openblas.global.openblas_nolapack;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.host.Settings;
import org.fusednorm.host.Unavailable;

/**
 * Matrix products of OpenBLAS on plain addresses, loaded once, at the first question. OpenBLAS is
 * told to use one thread: {@link Product} calls it from the engine's own threads, so that no second
 * pool spins beside them and the split, hence every bit of the result, is ours.
 *
 * <p>Only this class knows JavaCPP.
 */
final class OpenBlas {
  private static final String SWITCH = "fusednorm.openblas";
  private static final int ROW_MAJOR = 101;
  private static final int NOT_TRANSPOSED = 111;
  private static final int TRANSPOSED = 112;

  private OpenBlas() {}

  private static final class Holder {
    static final Unavailable MISSING = load();
  }

  static boolean isAvailable() {
    return Holder.MISSING == null;
  }

  /** Why it is missing, or null. */
  static Unavailable missing() {
    return Holder.MISSING;
  }

  static String version() {
    return openblas_nolapack.OPENBLAS_VERSION.strip();
  }

  /**
   * Whether its kernels rearrange operands however small they are: all but those for AVX-512, which
   * it chooses by the processor or by the name that a variable of the environment gives.
   */
  static boolean packsSmallProducts() {
    String named = System.getenv("OPENBLAS_CORETYPE");
    if (named != null && !named.isBlank()) {
      return !List.of("SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")
          .contains(named.toUpperCase(Locale.ROOT));
    }
    return !NativeLibrary.isAvailable() || NativeLibrary.isa() != Isa.AVX512;
  }

  private static Unavailable load() {
    Unavailable off = Settings.offSwitch(SWITCH);
    if (off != null) {
      return off;
    }
    try {
      prepareJavaCpp();
      Loader.load(openblas_nolapack.class);
      openblas_nolapack.blas_set_num_threads(1);
      multiplyOnce();
      return null;
    } catch (LinkageError e) {
      return new Unavailable(
          "OpenBLAS cannot be loaded: " + e,
          "put org.bytedeco:openblas and org.bytedeco:javacpp with the classifier of this platform"
              + " on the class path",
          e);
    }
  }

  /** Settings of JavaCPP that it reads when its first class is loaded; the user's own are kept. */
  private static void prepareJavaCpp() {
    // Our memory is not JavaCPP's: its limits would count the whole process against its own.
    setIfUnset("org.bytedeco.javacpp.maxBytes", "0");
    setIfUnset("org.bytedeco.javacpp.maxPhysicalBytes", "0");
    Path cache = cacheDirectory();
    if (cache != null) {
      setIfUnset("org.bytedeco.javacpp.cachedir", cache.toString());
    }
  }

  private static void setIfUnset(String property, String value) {
    if (System.getProperty(property) == null) {
      System.setProperty(property, value);
    }
  }

  /** A directory that only this user can write; null where there is none, for JavaCPP's own. */
  private static Path cacheDirectory() {
    String base = System.getenv("XDG_CACHE_HOME");
    Path parent =
        base != null && !base.isBlank()
            ? Path.of(base)
            : Path.of(System.getProperty("user.home"), ".cache");
    Path cache = parent.resolve("fusednorm").resolve("javacpp");
    try {
      if (!Files.isDirectory(cache)) {
        Files.createDirectories(
            cache,
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
      }
      return cache;
    } catch (IOException | UnsupportedOperationException e) {
      return null;
    }
  }

  /** Fails here, not in the first step, where a symbol is missing. */
  private static void multiplyOnce() {
    float[] one = {1};
    float[] product = {0};
    openblas_nolapack.cblas_sgemm(
        ROW_MAJOR, NOT_TRANSPOSED, NOT_TRANSPOSED, 1, 1, 1, 1, one, 1, one, 1, 0, product, 1);
    if (product[0] != 1) {
      throw new UnsatisfiedLinkError("its product of 1 and 1 is " + product[0]);
    }
  }

  /** Addresses for one thread: JavaCPP's pointers, made once and moved; they own nothing. */
  static final class Call {
    private final Floats fa = new Floats();
    private final Floats fb = new Floats();
    private final Floats fc = new Floats();
    private final Doubles da = new Doubles();
    private final Doubles db = new Doubles();
    private final Doubles dc = new Doubles();

    /** c = op(a) op(b), or c += op(a) op(b), in F32; row-major, {@code ld} the row lengths. */
    void floats(
        boolean transposeA,
        boolean transposeB,
        int m,
        int n,
        int k,
        long a,
        int lda,
        long b,
        int ldb,
        boolean add,
        long c,
        int ldc) {
      openblas_nolapack.cblas_sgemm(
          ROW_MAJOR,
          transposeA ? TRANSPOSED : NOT_TRANSPOSED,
          transposeB ? TRANSPOSED : NOT_TRANSPOSED,
          m,
          n,
          k,
          1,
          fa.at(a),
          lda,
          fb.at(b),
          ldb,
          add ? 1 : 0,
          fc.at(c),
          ldc);
    }

    /** The same in F64. */
    void doubles(
        boolean transposeA,
        boolean transposeB,
        int m,
        int n,
        int k,
        long a,
        int lda,
        long b,
        int ldb,
        boolean add,
        long c,
        int ldc) {
      openblas_nolapack.cblas_dgemm(
          ROW_MAJOR,
          transposeA ? TRANSPOSED : NOT_TRANSPOSED,
          transposeB ? TRANSPOSED : NOT_TRANSPOSED,
          m,
          n,
          k,
          1,
          da.at(a),
          lda,
          db.at(b),
          ldb,
          add ? 1 : 0,
          dc.at(c),
          ldc);
    }
  }

  private static final class Floats extends FloatPointer {
    Floats() {
      super((Pointer) null);
    }

    Floats at(long a) {
      address = a;
      return this;
    }
  }

  private static final class Doubles extends DoublePointer {
    Doubles() {
      super((Pointer) null);
    }

    Doubles at(long a) {
      address = a;
      return this;
    }
  }
}
