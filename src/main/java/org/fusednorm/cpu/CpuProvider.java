package org.fusednorm.cpu;

import java.util.List;
import java.util.Locale;
import org.fusednorm.Availability;
import org.fusednorm.Availability.Part;
import org.fusednorm.BackendException;
import org.fusednorm.Engine;
import org.fusednorm.EngineProvider;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.host.Settings;

/** Offers the {@link CpuEngine}, which is there everywhere. */
public final class CpuProvider implements EngineProvider {
  static final String NAME = "cpu";

  private static final int MOST_THREADS = 1024;

  /** For {@link java.util.ServiceLoader}. */
  public CpuProvider() {}

  @Override
  public String name() {
    return NAME;
  }

  @Override
  public int rank() {
    return 10;
  }

  @Override
  public Availability availability() {
    try {
      int threads = threads();
      return Availability.available(NAME, CpuEngine.describe(threads)).with(parts(threads));
    } catch (BackendException e) {
      return Availability.unavailable(NAME, e.getMessage(), "set it to a number of threads");
    }
  }

  private static List<Part> parts(int threads) {
    return List.of(
        Part.of("threads", Integer.toString(threads)),
        new Part(
            "kernels",
            "plain Java",
            "this version of fusednorm has no SIMD kernels",
            "use a later version"),
        NativeLibrary.isAvailable()
            ? Part.of("memory", "native, library " + NativeLibrary.version())
            : new Part(
                "memory",
                "direct buffers of Java",
                NativeLibrary.unavailabilityCause(),
                NativeLibrary.unavailabilityCure()),
        OpenBlas.isAvailable()
            ? Part.of("matrix products", OpenBlas.version() + ", from " + count(threads))
            : new Part(
                "matrix products",
                "plain Java, " + count(threads),
                OpenBlas.missing().cause(),
                OpenBlas.missing().cure()));
  }

  private static String count(int threads) {
    return threads == 1 ? "1 thread" : threads + " threads";
  }

  @Override
  public Engine open(int index) {
    if (index != 0) {
      throw new BackendException("there is no " + NAME + ":" + index + ", only " + NAME + ":0");
    }
    return new CpuEngine(threads());
  }

  /** Property fusednorm.threads, or as many as there are processors. */
  private static int threads() {
    String given = Settings.get("fusednorm.threads");
    if (given == null) {
      return Runtime.getRuntime().availableProcessors();
    }
    String text = "-Dfusednorm.threads=" + given;
    try {
      int n = Integer.parseInt(given);
      if (n >= 1 && n <= MOST_THREADS) {
        return n;
      }
      throw new BackendException(
          String.format(Locale.ROOT, "%s is not in 1..%d", text, MOST_THREADS));
    } catch (NumberFormatException e) {
      throw new BackendException(text + " is no number", e);
    }
  }
}
