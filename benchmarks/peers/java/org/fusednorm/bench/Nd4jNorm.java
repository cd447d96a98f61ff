package org.fusednorm.bench;

import java.util.Arrays;
import org.nd4j.linalg.api.buffer.DataType;
import org.nd4j.linalg.api.ndarray.INDArray;
import org.nd4j.linalg.api.ops.DynamicCustomOp;
import org.nd4j.linalg.factory.Nd4j;

/**
 * ND4J: mean, variance and its operation batchnorm, which takes them. F32 only. Needs the class
 * path of {@code benchmarks/peers/nd4j.xml}.
 */
public class Nd4jNorm extends NormBenchmark {
  @Override
  NormWork open(NormCase c, NormData data) {
    return new Work(c, data);
  }

  static final class Work implements NormWork {
    private final int axis;
    private final int[] reduced;
    private final INDArray x;
    private final INDArray gamma;
    private final INDArray beta;
    private final INDArray y;
    private final Runnable call;

    Work(NormCase c, NormData data) {
      long[] dims = c.shape().dims();
      axis = c.layout().equals("NHWC") ? 3 : 1;
      reduced = new int[dims.length - 1];
      for (int d = 0, i = 0; d < dims.length; d++) {
        if (d != axis) {
          reduced[i++] = d;
        }
      }
      x = array(c, data.x());
      y = Nd4j.create(DataType.FLOAT, dims);
      gamma = Nd4j.createFromArray(data.gamma());
      beta = Nd4j.createFromArray(data.beta());
      INDArray mean = Nd4j.createFromArray(data.mean());
      INDArray variance = Nd4j.createFromArray(data.variance());
      call =
          switch (c.operation()) {
            case FORWARD -> () -> norm(x.mean(reduced), x.var(false, reduced));
            case INFERENCE -> () -> norm(mean, variance);
            default -> throw new IllegalArgumentException("ND4J is not measured in " + c);
          };
    }

    private static INDArray array(NormCase c, NormData.Values values) {
      float[] all = new float[Math.toIntExact(c.elements())];
      values.fill(0, all, all.length);
      return Nd4j.create(all, c.shape().dims(), 'c');
    }

    private void norm(INDArray mean, INDArray variance) {
      Nd4j.exec(
          DynamicCustomOp.builder("batchnorm")
              .addInputs(x, mean, variance, gamma, beta)
              .addOutputs(y)
              .addIntegerArguments(1, 1, axis)
              .addFloatingPointArguments(NormCase.EPS)
              .build());
    }

    @Override
    public void call() {
      call.run();
    }

    @Override
    public float[] result() {
      float[] all = y.data().asFloat();
      return Arrays.copyOf(all, Math.toIntExact(y.length()));
    }

    @Override
    public String description() {
      return "ND4J " + System.getProperty("fusednorm.bench.nd4j", "");
    }

    @Override
    public void close() {
      x.close();
      y.close();
    }
  }
}
