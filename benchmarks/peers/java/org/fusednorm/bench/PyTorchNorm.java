package org.fusednorm.bench;

import ai.djl.engine.Engine;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.ndarray.types.SparseFormat;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.jni.JniUtils;
import java.util.ArrayList;
import java.util.List;
import org.fusednorm.DType;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/**
 * PyTorch through DJL's native entries, without its blocks and operators. Backward is autograd's;
 * its forward, which makes the graph, runs before each call and outside of its time.
 */
public class PyTorchNorm extends NormBenchmark {
  /** Calls until results lie in memory that was freed before, not in fresh pages. */
  private static final int SETTLING = 10;

  @Override
  NormWork open(NormCase c, NormData data) {
    NormWork work = new Work(c, data);
    for (int i = 0; i < SETTLING; i++) {
      work.before();
      work.call();
      work.after();
    }
    return work;
  }

  /** Makes the graph of a backward. */
  @Setup(Level.Invocation)
  public void before() {
    work().before();
  }

  /** Frees results. */
  @TearDown(Level.Invocation)
  public void after() {
    work().after();
  }

  static final class Work implements NormWork {
    /** The weight of the new value: running statistics are those of the last batch. */
    private static final double MOMENTUM = 1;

    private final Engine engine = Engine.getEngine("PyTorch");
    private final PtNDManager memory = (PtNDManager) engine.newBaseManager();
    private final NormCase c;
    private final List<Block> blocks = new ArrayList<>();
    private final PtNDArray x;
    private final PtNDArray dy;
    private final PtNDArray residual;
    private final PtNDArray gamma;
    private final PtNDArray beta;
    private final PtNDArray mean;
    private final PtNDArray variance;
    private final List<PtNDArray> graph = new ArrayList<>();
    private PtNDArray y;

    Work(NormCase c, NormData data) {
      this.c = c;
      if (c.type() != DType.F32) {
        throw new IllegalArgumentException("PyTorch is measured in F32 only, not in " + c);
      }
      NormCase.Operation o = c.operation();
      JniUtils.setGradMode(o.isBackward());
      x = array(new Block(c, data.x()));
      dy = o.isBackward() ? array(new Block(c, data.dy())) : null;
      residual = o.add() ? array(new Block(c, data.residual())) : null;
      gamma = (PtNDArray) memory.create(data.gamma());
      beta = (PtNDArray) memory.create(data.beta());
      mean = (PtNDArray) memory.create(data.mean());
      variance = (PtNDArray) memory.create(data.variance());
      for (PtNDArray p : o.isBackward() ? List.of(x, gamma, beta) : List.<PtNDArray>of()) {
        JniUtils.attachGradient(p, true);
      }
    }

    /** Our memory as a tensor; NHWC is what PyTorch calls channels last. */
    private PtNDArray array(Block block) {
      blocks.add(block);
      PtNDArray a =
          JniUtils.createNdFromByteBuffer(
              memory,
              block.buffer(),
              new Shape(c.shape().dims()),
              DataType.FLOAT32,
              SparseFormat.DENSE,
              memory.getDevice());
      return c.layout().equals("NHWC") ? (PtNDArray) a.transpose(0, 3, 1, 2) : a;
    }

    private PtNDArray norm(PtNDArray x, PtNDArray gamma, PtNDArray beta, boolean training) {
      PtNDArray y =
          JniUtils.batchNorm(x, mean, variance, gamma, beta, training, MOMENTUM, NormCase.EPS);
      if (residual != null) {
        y.addi(residual);
      }
      if (!c.operation().relu()) {
        return y;
      }
      graph.add(y);
      return JniUtils.relu(y);
    }

    @Override
    public void before() {
      if (c.operation().isBackward()) {
        // Fresh leaves: a gradient that is there already would be added to, which costs more.
        PtNDArray leaf = leaf(x);
        y = norm(leaf, leaf(gamma), leaf(beta), true);
      }
    }

    private PtNDArray leaf(PtNDArray p) {
      PtNDArray leaf = JniUtils.detachGradient(p);
      JniUtils.attachGradient(leaf, true);
      graph.add(leaf);
      return leaf;
    }

    @Override
    public void call() {
      if (c.operation().isBackward()) {
        JniUtils.backward(y, dy, false, false);
      } else {
        y = norm(x, gamma, beta, !c.operation().isInference());
      }
    }

    @Override
    public void after() {
      y.close();
      graph.forEach(PtNDArray::close);
      graph.clear();
    }

    @Override
    public float[] result() {
      PtNDArray r = c.operation().isBackward() ? (PtNDArray) graph.get(0).getGradient() : y;
      if (c.layout().equals("NHWC")) {
        r = (PtNDArray) r.transpose(0, 2, 3, 1);
      }
      return r.toType(DataType.FLOAT32, true).toFloatArray();
    }

    @Override
    public String description() {
      return "PyTorch "
          + engine.getVersion()
          + " through DJL "
          + Engine.getDjlVersion()
          + ", threads "
          + JniUtils.getNumThreads();
    }

    @Override
    public void close() {
      memory.close();
      blocks.forEach(Block::close);
    }
  }
}
