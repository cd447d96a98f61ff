package org.fusednorm.reference;

import java.nio.ByteBuffer;
import java.util.List;
import org.fusednorm.Activation;
import org.fusednorm.Affine;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.Engine;
import org.fusednorm.Moments;
import org.fusednorm.Nonlinearity;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Scalar;
import org.fusednorm.Shape;
import org.fusednorm.Storage;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.Write;
import org.fusednorm.host.HostStorage;

/**
 * Every verb as a plain loop on the calling thread; done when it returns. Fused verbs are their
 * parts one after another. The ReLU gate is one byte per element.
 */
public final class ReferenceEngine implements Engine {
  static final String DESCRIPTION = "plain loops in double precision, one thread";

  private static final Device DEVICE = new Device(ReferenceProvider.NAME, 0);

  /** An engine that holds nothing but the memory it gives out. */
  public ReferenceEngine() {}

  @Override
  public Device device() {
    return DEVICE;
  }

  @Override
  public String description() {
    return DESCRIPTION;
  }

  @Override
  public int threads() {
    return 1;
  }

  @Override
  public boolean computes(DType t) {
    return t.isFloating();
  }

  @Override
  public Storage allocate(long bytes) {
    return HostStorage.allocate(bytes);
  }

  @Override
  public void free(Storage s) {
    host(s).free();
  }

  @Override
  public Storage wrap(ByteBuffer direct, int position, int bytes) {
    return HostStorage.over(direct, position, bytes);
  }

  @Override
  public Storage wrap(long address, long bytes) {
    return HostStorage.at(address, bytes);
  }

  @Override
  public void upload(ByteBuffer from, int at, Storage to, long offset, int bytes) {
    host(to).upload(from, at, offset, bytes);
  }

  @Override
  public void download(Storage from, long offset, ByteBuffer to, int at, int bytes) {
    host(from).download(offset, to, at, bytes);
  }

  @Override
  public void copy(Storage from, long fromOffset, Storage to, long toOffset, long bytes) {
    host(from).copy(fromOffset, host(to), toOffset, bytes);
  }

  @Override
  public void zero(Storage s, long offset, long bytes) {
    host(s).zero(offset, bytes);
  }

  private static HostStorage host(Storage s) {
    return (HostStorage) s;
  }

  @Override
  public void synchronize() {}

  @Override
  public void host(Runnable r) {
    r.run();
  }

  @Override
  public long gateBytes(Shape s) {
    return s.elements();
  }

  @Override
  public void moments(Tensor x, Moments out) {
    NormLoops.moments(x, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Moments out) {
    NormLoops.merge(gathered, parts, out);
  }

  @Override
  public void merge(Tensor gathered, int parts, Sums out) {
    NormLoops.merge(gathered, parts, out);
  }

  @Override
  public void coefficients(Moments m, Affine a, double eps, Saved out) {
    NormLoops.coefficients(m, a, eps, out);
  }

  @Override
  public void coefficients(Running r, Affine a, double eps, Saved out) {
    NormLoops.coefficients(r, a, eps, out);
  }

  @Override
  public void normalize(Tensor x, Saved s, Activation f, Tensor residual, Tensor y) {
    NormLoops.normalize(x, s, f, residual, y);
  }

  @Override
  public void gradientSums(Tensor dy, Tensor x, Saved s, Activation f, Sums out) {
    NormLoops.gradientSums(dy, x, s, f, out);
  }

  @Override
  public void inputGradient(
      Tensor dy, Tensor x, Saved s, Sums total, Activation f, Tensor dx, Tensor dResidual) {
    NormLoops.inputGradient(dy, x, s, total, f, dx, dResidual);
  }

  @Override
  public void gradients(Sums s, Affine gradients, Write w) {
    NormLoops.gradients(s, gradients, w);
  }

  @Override
  public void forward(
      Tensor x,
      Affine a,
      double eps,
      Activation f,
      Tensor residual,
      Saved out,
      Tensor y,
      boolean isReadNext) {
    NormLoops.statistics(x, a, eps, out);
    NormLoops.normalize(x, out, f, residual, y);
  }

  @Override
  public void backward(
      Tensor dy, Tensor x, Saved s, Activation f, Sums out, Tensor dx, Tensor dResidual) {
    NormLoops.gradientSums(dy, x, s, f, out);
    NormLoops.inputGradient(dy, x, s, out, f, dx, dResidual);
  }

  @Override
  public void infer(
      Tensor x, Running r, Affine a, double eps, Activation f, Tensor residual, Tensor y) {
    NormLoops.infer(x, r, a, eps, f, residual, y);
  }

  @Override
  public void commit(List<Saved> s, List<Running> r) {
    NormLoops.commit(s, r);
  }

  @Override
  public void matmul(
      Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w) {
    MathLoops.matmul(a, transposeA, b, transposeB, c, w);
  }

  @Override
  public void addBias(Tensor x, Tensor bias, Tensor y) {
    MathLoops.addBias(x, bias, y);
  }

  @Override
  public void biasGradient(Tensor dy, Tensor dbias, Write w) {
    MathLoops.biasGradient(dy, dbias, w);
  }

  @Override
  public void activate(Nonlinearity f, Tensor x, Tensor y) {
    MathLoops.activate(f, x, y);
  }

  @Override
  public void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx) {
    MathLoops.activationGradient(f, y, dy, dx);
  }

  @Override
  public void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits) {
    MathLoops.softmaxCrossEntropy(logits, labels, loss, dlogits);
  }

  @Override
  public void correct(Tensor logits, Tensor labels, Tensor count, Write w) {
    MathLoops.correct(logits, labels, count, w);
  }

  @Override
  public void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay) {
    MathLoops.sgd(value, gradient, velocity, learningRate, momentum, weightDecay);
  }

  @Override
  public void gather(Tensor table, Tensor rows, double scale, Tensor out) {
    MathLoops.gather(table, rows, scale, out);
  }

  @Override
  public void squaredNorm(Tensor x, Tensor out, Write w) {
    MathLoops.squaredNorm(x, out, w);
  }

  @Override
  public void close() {}
}
