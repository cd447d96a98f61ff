package org.fusednorm;

import java.util.List;

/**
 * The small set of operations that a training step needs beside normalization. Matrices are
 * row-major tensors of two dimensions (any shape with a batch counts as [batch, rest]). Types: F32
 * and F64 everywhere, F16 and BF16 where the backend computes them.
 *
 * <p>Element-wise verbs may write over their input; others refuse any overlap.
 */
public interface MathOps {
  /** c = op(a) op(b), or c += op(a) op(b); op transposes or not. */
  void matmul(Tensor a, boolean transposeA, Tensor b, boolean transposeB, Tensor c, Write w);

  /**
   * The gradients of y = x W^T, a dense layer's: dweight = dy^T x, or added to it, and dx = dy W.
   * Faster than the two products one after the other where each is small; it may add up in another
   * order.
   *
   * @param dy [batch, out]
   * @param x [batch, in]
   * @param weight W, [out, in]
   * @param dweight [out, in]
   * @param w for {@code dweight}
   * @param dx [batch, in]; null where the input needs no gradient
   */
  void denseGradients(Tensor dy, Tensor x, Tensor weight, Tensor dweight, Write w, Tensor dx);

  /** y[i, j] = x[i, j] + bias[j]. */
  void addBias(Tensor x, Tensor bias, Tensor y);

  /** dbias[j] = sum over i of dy[i, j], or added to it. */
  void biasGradient(Tensor dy, Tensor dbias, Write w);

  /** y = f(x). */
  void activate(Nonlinearity f, Tensor x, Tensor y);

  /** dx = dy f'(x), computed from y = f(x). */
  void activationGradient(Nonlinearity f, Tensor y, Tensor dy, Tensor dx);

  /**
   * Mean over the rows of -log softmax(logits)[label]; 0 for no rows.
   *
   * @param labels I32 or I64 [rows], each in 0..columns-1; an element outside is an error (on a
   *     device that works asynchronously it surfaces at the next wait)
   * @param loss F64 [1]
   * @param dlogits the gradient (softmax - onehot) / rows; may be logits itself; null for none
   */
  void softmaxCrossEntropy(Tensor logits, Tensor labels, Tensor loss, Tensor dlogits);

  /**
   * Number of rows whose largest logit (the first of equals) is at the label, I64 [1]. A row with a
   * NaN counts as wrong; labels as in {@link #softmaxCrossEntropy}.
   */
  void correct(Tensor logits, Tensor labels, Tensor count, Write w);

  /**
   * Stochastic gradient descent in PyTorch's terms: g = gradient + weightDecay value; velocity =
   * momentum velocity + g; value -= learningRate velocity.
   *
   * @param velocity null for plain descent, value -= learningRate g
   * @param momentum null exactly when velocity is
   * @param weightDecay null for none
   */
  void sgd(
      Tensor value,
      Tensor gradient,
      Tensor velocity,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay);

  /**
   * The same for many parameters with common rates, faster than one after the other: most of a
   * network's parameters are small.
   *
   * @param parameters of any floating types; none may overlap another
   * @param velocities one for each parameter, in their order; null for plain descent
   */
  void sgd(
      List<Parameter> parameters,
      List<Tensor> velocities,
      Scalar learningRate,
      Scalar momentum,
      Scalar weightDecay);

  /**
   * out[i, :] = scale table[rows[i], :], converted to out's type.
   *
   * @param table [entries, ...], U8 or the type of {@code out} ({@code scale} 1), or I32 or I64 for
   *     both (labels, {@code scale} 1)
   * @param rows I64, each in 0..entries-1; an element outside is an error
   */
  void gather(Tensor table, Tensor rows, double scale, Tensor out);

  /** Sum of squares of all elements, accumulated in F64 into F64 [1]. */
  void squaredNorm(Tensor x, Tensor out, Write w);
}
