package org.fusednorm;

import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.ServiceLoader;
import java.util.StringJoiner;
import java.util.function.BiFunction;

/**
 * Finds and opens backends: {@code cuda}, {@code cpu} and {@code reference}, in this order of
 * preference.
 *
 * <p>The system property {@code fusednorm.backend} (or the environment variable {@code
 * FUSEDNORM_BACKEND}) forces the choice of {@link #best}; a forced backend that is missing is an
 * error with its full cause, never a silent fallback.
 */
public final class Backends {
  private static final System.Logger LOG = System.getLogger("org.fusednorm");
  private static final String FORCE = "fusednorm.backend";
  private static final String FORCE_VARIABLE = "FUSEDNORM_BACKEND";
  private static final List<EngineProvider> PROVIDERS = providers();

  private Backends() {}

  private static List<EngineProvider> providers() {
    List<EngineProvider> found = new ArrayList<>();
    for (EngineProvider p :
        ServiceLoader.load(EngineProvider.class, Backends.class.getClassLoader())) {
      found.add(p);
    }
    found.sort(Comparator.comparingInt(EngineProvider::rank).reversed());
    return List.copyOf(found);
  }

  /** What there is, best first, with cause and cure for what is missing. */
  public static List<Availability> availability() {
    return PROVIDERS.stream().map(EngineProvider::availability).toList();
  }

  /**
   * Which backend {@link #best} opens, and why; opens nothing.
   *
   * @throws BackendException when there is no backend at all
   */
  public static Choice choice() {
    String property = System.getProperty(FORCE);
    if (property != null && !property.isBlank()) {
      return new Choice(property.strip(), true, "forced by -D" + FORCE + "=" + property.strip());
    }
    String variable = System.getenv(FORCE_VARIABLE);
    if (variable != null && !variable.isBlank()) {
      String reason = "forced by the environment variable " + FORCE_VARIABLE;
      return new Choice(variable.strip(), true, reason + "=" + variable.strip());
    }
    StringJoiner skipped = new StringJoiner("; ", "the best available; ", "");
    skipped.setEmptyValue("the best there is");
    for (EngineProvider p : PROVIDERS) {
      Availability a = p.availability();
      if (a.available()) {
        return new Choice(p.name(), false, skipped.toString());
      }
      skipped.add("not " + p.name() + ": " + a.cause());
    }
    throw new BackendException("no backend on the class path: is the fusednorm jar complete?");
  }

  /**
   * Opens the best available backend and logs one line that says which, and why no better one.
   *
   * @throws BackendException when the backend that was forced by property or environment is missing
   */
  public static Backend best() {
    Choice choice = choice();
    Backend b = open(choice.spec());
    if (!choice.forced()) {
      LOG.log(Level.INFO, "using {0} ({1}): {2}", b.device(), b.description(), choice.reason());
    }
    return b;
  }

  /**
   * Opens a backend by name.
   *
   * @param spec name, and after a colon the number of the device if not 0: {@code cpu}, {@code
   *     cuda:1}
   * @throws IllegalArgumentException for a name or number that cannot be
   * @throws BackendException when the backend is missing here, with cause and cure
   */
  public static Backend open(String spec) {
    return open(spec, EngineProvider::open);
  }

  /**
   * Opens a backend whose work goes to a stream of somebody else, in order with what the owner
   * queues there. The stream belongs to the device's primary context, the one of the CUDA runtime,
   * and outlives the backend; reads of tensors wait for what was queued on it before.
   *
   * @param spec as in {@link #open}
   * @param cuStream address of the CUstream (a cudaStream_t is one); 0 is the default stream
   * @throws BackendException also for a backend without streams, all but {@code cuda}
   */
  public static Backend onStream(String spec, long cuStream) {
    return open(spec, (p, index) -> p.openOnStream(index, cuStream));
  }

  private static Backend open(String spec, BiFunction<EngineProvider, Integer, Engine> opening) {
    String[] parts = spec.trim().toLowerCase(Locale.ROOT).split(":", 2);
    int index = 0;
    if (parts.length == 2) {
      try {
        index = Integer.parseUnsignedInt(parts[1]);
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            "backend \"" + spec + "\": the part after the colon must be a device number", e);
      }
    }
    for (EngineProvider p : PROVIDERS) {
      if (p.name().equals(parts[0])) {
        Availability a = p.availability();
        if (!a.available()) {
          throw new BackendException(p.name() + " is unavailable: " + a.cause() + "; " + a.cure());
        }
        return new Backend(opening.apply(p, index));
      }
    }
    String names = String.join(", ", PROVIDERS.stream().map(EngineProvider::name).toList());
    throw new IllegalArgumentException("no backend \"" + spec + "\": there are " + names);
  }
}
