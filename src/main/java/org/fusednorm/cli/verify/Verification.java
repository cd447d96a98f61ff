package org.fusednorm.cli.verify;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.Scope;
import org.fusednorm.Shape;

/** Every verb of some backends, set beside the truth. */
public final class Verification {
  private static final List<DType> FLOATS = List.of(DType.F32, DType.F16, DType.BF16, DType.F64);

  /** Types that hold a mean far from 0 beside a small deviation. */
  private static final List<DType> LONG_FLOATS = List.of(DType.F32, DType.F64);

  private final List<Supplier<Problem>> problems = new ArrayList<>();

  /**
   * Collects the problems; computes nothing yet.
   *
   * @param quick a few small sizes of every verb in place of all sizes
   */
  public Verification(boolean quick) {
    for (Problem p : GoldenProblem.all()) {
      problems.add(() -> p);
    }
    for (int channels : quick ? new int[] {5} : new int[] {1, 3, 16, 17, 64, 2049}) {
      problems.add(() -> new ChannelProblem(channels));
    }
    for (MathProblem p : MathProblem.all(quick)) {
      problems.add(() -> p);
    }
    for (Shape s : NormProblem.shapes(quick)) {
      problems.add(() -> plain(s, FLOATS));
    }
    if (!quick) {
      for (Shape s : NormProblem.largeShapes()) {
        problems.add(() -> plain(s, LONG_FLOATS));
      }
    }
    hard(quick);
  }

  private static Problem plain(Shape s, List<DType> types) {
    double[] x = Values.coarse(s.elements(), s.hashCode());
    return new NormProblem(s.toString(), types, new NormInputs(s, x, s.hashCode()));
  }

  private void hard(boolean quick) {
    long side = quick ? 5 : 28;
    List<Shape> shapes =
        List.of(
            Shape.nc(side * side, 8), Shape.nchw(4, 4, side, side), Shape.nhwc(4, side, side, 4));
    for (Shape s : shapes) {
      problems.add(() -> around(s, "1e4±1", 1e4, 1));
      problems.add(() -> around(s, "1e6±.1", 1e6, 0.1));
      problems.add(() -> constantChannel(s));
      problems.add(() -> far(s));
      problems.add(() -> notFinite(s));
    }
  }

  private static Problem around(Shape s, String what, double mean, double deviation) {
    double[] x = Values.around(mean, deviation, s.elements(), s.hashCode());
    return new NormProblem(s + " " + what, LONG_FLOATS, new NormInputs(s, x, s.hashCode()));
  }

  private static Problem constantChannel(Shape s) {
    double[] x = Values.coarse(s.elements(), s.hashCode());
    overwrite(s, x, 1, 1.328125);
    return new NormProblem(s + " constant", FLOATS, new NormInputs(s, x, s.hashCode()));
  }

  /** A channel whose deviations from its mean are beyond what F32 holds. */
  private static Problem far(Shape s) {
    double[] x = Values.coarse(s.elements(), s.hashCode());
    overwrite(s, x, 1, (float) -3e38);
    x[(int) s.inner()] = (float) 3e38;
    return new NormProblem(s + " 3e38", LONG_FLOATS, new NormInputs(s, x, s.hashCode()));
  }

  /** A NaN in channel 0 and an infinity in channel 2 leave the others as they are. */
  private static Problem notFinite(Shape s) {
    double[] x = Values.coarse(s.elements(), s.hashCode());
    x[0] = Double.NaN;
    x[(int) (2 * s.inner())] = Double.POSITIVE_INFINITY;
    return new NormProblem(s + " NaN", FLOATS, new NormInputs(s, x, s.hashCode()));
  }

  private static void overwrite(Shape s, double[] x, long channel, double v) {
    for (int i = 0; i < x.length; i++) {
      if (i / s.inner() % s.channels() == channel) {
        x[i] = v;
      }
    }
  }

  /** Number of problems, each of which {@link #run} reports when it is done. */
  public int problems() {
    return problems.size();
  }

  /**
   * Runs every problem on every backend, in every type that both have.
   *
   * @param backends what is to be checked
   * @param done is told the name of each problem when it is done
   */
  public List<Comparison> run(List<Backend> backends, Consumer<String> done) {
    List<Comparison> all = new ArrayList<>();
    try (Backend reference = Backends.open("reference")) {
      for (Supplier<Problem> made : problems) {
        Problem p = made.get();
        Results truth = p.truth(reference);
        for (Backend b : backends) {
          for (DType t : p.types()) {
            if (!p.needsMath() || b.computes(t)) {
              all.addAll(run(p, b, t, truth));
            }
          }
        }
        done.accept(p.name());
      }
    }
    return all;
  }

  private static List<Comparison> run(Problem p, Backend b, DType t, Results truth) {
    String backend = b.device().toString();
    Results got = new Results();
    RuntimeException thrown = null;
    try (Scope m = b.scope()) {
      p.run(m, t, got);
    } catch (RuntimeException e) {
      thrown = e;
    }
    List<Comparison> compared = new ArrayList<>();
    for (Results.Result r : got.list()) {
      compared.add(Comparison.of(backend, p.name(), t, truth.like(r), r));
    }
    if (thrown != null) {
      String next = truth.operationAfter(got);
      compared.add(Comparison.thrown(backend, next, p.name(), t, thrown));
    }
    return compared;
  }
}
