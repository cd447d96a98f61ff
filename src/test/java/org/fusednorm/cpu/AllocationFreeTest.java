package org.fusednorm.cpu;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Parameter;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Scope;
import org.fusednorm.Shape;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.Write;
import org.junit.jupiter.api.Test;

/** After the first calls no verb allocates on the Java heap, in no thread. */
class AllocationFreeTest {
  private static final int ROUNDS = 300;

  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  /** Bytes that this thread and the helpers of the engine have allocated so far. */
  private static long allocated() {
    long bytes = 0;
    for (Thread t : Thread.getAllStackTraces().keySet()) {
      if (t == Thread.currentThread() || t.getName().startsWith("fusednorm-cpu-")) {
        bytes += THREADS.getThreadAllocatedBytes(t.getId());
      }
    }
    return bytes;
  }

  @Test
  void verbsOfATrainingStep() {
    try (Backend b = TestBackends.over(new CpuEngine(2));
        Scope m = b.scope()) {
      Runnable step = step(m);
      for (int i = 0; i < ROUNDS; i++) {
        step.run();
      }
      // What the measurement itself takes: stack traces.
      long empty = -allocated();
      empty += allocated();
      long before = allocated();
      for (int i = 0; i < ROUNDS; i++) {
        step.run();
      }
      long taken = allocated() - before - empty;
      assertTrue(taken < 16 * ROUNDS, taken + " bytes in " + ROUNDS + " steps");
    }
  }

  private static Runnable step(Scope m) {
    Backend b = m.backend();
    Shape shape = Shape.nchw(8, 40, 28, 28);
    Tensor x = m.zeros(shape, DType.F32);
    Tensor dy = m.zeros(shape, DType.F32);
    Tensor y = m.zeros(shape, DType.F32);
    Tensor dx = m.zeros(shape, DType.F32);
    Saved saved = Saved.empty(m, shape, DType.F32, true);
    Sums sums = Sums.empty(m, 40);
    Tensor parameter = m.zeros(Shape.of(40), DType.F32);
    Affine gradients = new Affine(parameter, m.zeros(Shape.of(40), DType.F32));
    Running running =
        new Running(
            m.zeros(Shape.of(40), DType.F64),
            m.zeros(Shape.of(40), DType.F64),
            m.zeros(Shape.of(1), DType.I64),
            m.scalar(0.1),
            true);
    List<Saved> savedList = List.of(saved);
    List<Running> runningList = List.of(running);
    Tensor rows = m.zeros(Shape.of(400, 600), DType.F32);
    Tensor weight = m.zeros(Shape.of(600, 500), DType.F32);
    Tensor gradient = m.zeros(Shape.of(600, 500), DType.F32);
    Tensor out = m.zeros(Shape.of(400, 500), DType.F32);
    Tensor bias = m.zeros(Shape.of(500), DType.F32);
    Tensor labels = m.zeros(Shape.of(400), DType.I64);
    Tensor loss = m.zeros(Shape.of(1), DType.F64);
    Scalar rate = m.scalar(0.1);
    List<Parameter> parameters =
        List.of(
            new Parameter("weight", weight, gradient),
            new Parameter("bias", bias, m.zeros(bias.shape(), DType.F32)));
    Tensor drows = m.zeros(Shape.of(400, 600), DType.F32);
    Tensor turned = m.zeros(Shape.of(500, 600), DType.F32);
    Tensor dturned = m.zeros(Shape.of(500, 600), DType.F32);
    return () -> {
      b.norm().forward(x, Affine.NONE, 1e-5, Activation.RELU, dy, saved, y);
      b.norm().backward(dy, x, saved, Activation.RELU, sums, dx, y);
      b.norm().gradients(sums, gradients, Write.ADD);
      b.norm().commit(savedList, runningList);
      b.norm().infer(x, running, Affine.NONE, 1e-5, Activation.NONE, null, y);
      b.math().matmul(rows, false, weight, false, out, Write.SET);
      b.math().addBias(out, bias, out);
      b.math().activate(Nonlinearity.SIGMOID, out, out);
      b.math().activationGradient(Nonlinearity.SIGMOID, out, out, out);
      b.math().softmaxCrossEntropy(out, labels, loss, out);
      b.math().biasGradient(out, bias, Write.SET);
      b.math().squaredNorm(weight, loss, Write.ADD);
      b.math().denseGradients(out, rows, turned, dturned, Write.ADD, drows);
      b.math().sgd(weight, gradient, null, rate, null, null);
      b.math().sgd(parameters, null, rate, null, null);
    };
  }
}
