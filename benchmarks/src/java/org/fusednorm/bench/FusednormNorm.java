package org.fusednorm.bench;

import java.util.List;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.Backends;
import org.fusednorm.DType;
import org.fusednorm.NormOps;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;

/** This library. */
public class FusednormNorm extends NormBenchmark {
  private static final double MOMENTUM = 0.1;
  private static final int PIECE = 1 << 20;

  /** What {@link Backends#open} takes. */
  static final String BACKEND = System.getProperty("fusednorm.bench.backend", "cpu");

  @Override
  NormWork open(NormCase c, NormData data) {
    return work(BACKEND, c, data);
  }

  /** On a backend. */
  static NormWork work(String backendName, NormCase c, NormData data) {
    Backend backend = Backends.open(backendName);
    try {
      return new Work(backend, c, data);
    } catch (RuntimeException | Error e) {
      backend.close();
      throw e;
    }
  }

  private static final class Work implements NormWork {
    private final Backend backend;
    private final Runnable call;
    private final Tensor y;

    /** What not every call reads: unreachable tensors would be freed, with a warning. */
    private final List<Object> kept;

    Work(Backend backend, NormCase c, NormData data) {
      this.backend = backend;
      NormOps norm = backend.norm();
      Shape shape = c.shape();
      DType type = c.type();
      Shape channels = Shape.of(c.channels());
      DType parameter = type.parameter();
      Tensor x = tensor(c, data.x());
      Tensor residual = c.operation().add() ? tensor(c, data.residual()) : null;
      y = backend.empty(shape, type);
      Affine affine =
          new Affine(
              backend.empty(channels, parameter).copyFrom(data.gamma()),
              backend.empty(channels, parameter).copyFrom(data.beta()));
      Running running = Running.moving(backend, c.channels(), MOMENTUM, true);
      running.mean().copyFrom(data.mean());
      running.variance().copyFrom(data.variance());
      kept = List.of(x, affine, running);
      if (c.operation().isInference()) {
        call =
            () ->
                norm.infer(
                    x, running, affine, NormCase.EPS, c.operation().activation(), residual, y);
        return;
      }
      Saved saved = Saved.empty(backend, shape, type, residual != null);
      List<Saved> forwards = List.of(saved);
      List<Running> statistics = List.of(running);
      Runnable forward =
          () -> {
            norm.forward(x, affine, NormCase.EPS, c.operation().activation(), residual, saved, y);
            norm.commit(forwards, statistics);
          };
      if (!c.operation().isBackward()) {
        call = forward;
        return;
      }
      forward.run();
      Tensor dy = tensor(c, data.dy());
      Sums sums = Sums.empty(backend, c.channels());
      Affine gradients =
          new Affine(backend.empty(channels, parameter), backend.empty(channels, parameter));
      // dx takes the place of y, which backward does not read.
      call =
          () -> {
            norm.backward(dy, x, saved, c.operation().activation(), sums, y, null);
            norm.gradients(sums, gradients, Write.SET);
          };
    }

    private Tensor tensor(NormCase c, NormData.Values values) {
      Tensor t = backend.empty(c.shape(), c.type());
      Tensor flat = t.as(Shape.of(c.elements()));
      for (long from = 0; from < c.elements(); from += PIECE) {
        float[] piece = new float[(int) Math.min(PIECE, c.elements() - from)];
        values.fill(from, piece, piece.length);
        flat.batch(from, from + piece.length).copyFrom(piece);
      }
      return t;
    }

    @Override
    public void call() {
      call.run();
    }

    @Override
    public float[] result() {
      return y.toFloats();
    }

    @Override
    public String description() {
      return backend.device() + ": " + backend.description();
    }

    @Override
    public void close() {
      backend.close();
    }
  }
}
