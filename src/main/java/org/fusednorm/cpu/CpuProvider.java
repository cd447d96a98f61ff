package org.fusednorm.cpu;

import java.util.List;
import java.util.Locale;
import org.fusednorm.Availability;
import org.fusednorm.Availability.Part;
import org.fusednorm.BackendException;
import org.fusednorm.Engine;
import org.fusednorm.EngineProvider;
import org.fusednorm.host.Isa;
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
    int threads;
    Isa isa;
    try {
      threads = threads();
      isa = Simd.chosen();
    } catch (IllegalArgumentException e) {
      // Malformed, not missing: no other backend may step in, who opens this one is told.
      return new Availability(NAME, true, "", e.getMessage(), "correct it or leave it out");
    }
    return Availability.available(NAME, CpuEngine.describe(threads, isa)).with(parts(threads, isa));
  }

  private static List<Part> parts(int threads, Isa isa) {
    return List.of(
        Part.of("threads", Integer.toString(threads)),
        isa != null
            ? Part.of("kernels", isa.label())
            : new Part(
                "kernels",
                "plain Java",
                NativeLibrary.unavailabilityCause(),
                NativeLibrary.unavailabilityCure()),
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

  /** Setting fusednorm.threads, or as many as there are processors. */
  private static int threads() {
    String given = Settings.get("fusednorm.threads");
    if (given == null) {
      return Runtime.getRuntime().availableProcessors();
    }
    String text = "-Dfusednorm.threads=" + given + " (or FUSEDNORM_THREADS)";
    int n;
    try {
      n = Integer.parseInt(given);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(text + " is no number", e);
    }
    if (n < 1 || n > MOST_THREADS) {
      throw new IllegalArgumentException(
          String.format(Locale.ROOT, "%s is not in 1..%d", text, MOST_THREADS));
    }
    return n;
  }
}
