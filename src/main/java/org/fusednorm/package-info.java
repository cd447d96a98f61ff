/**
 * Batch normalization for Java: tensors, backends and the layer.
 *
 * <p>One way through: data to {@link org.fusednorm.Tensor}, {@link org.fusednorm.BatchNorm} to
 * {@link org.fusednorm.NormOps} to the engine's kernel. The conventions, on every backend:
 *
 * <ul>
 *   <li>The batch is normalized by its biased variance; the running variance is unbiased; momentum
 *       is the weight of the new value (PyTorch's meaning, default 0.1); eps is 1e-5. Other
 *       libraries' meanings are a {@link org.fusednorm.Profile}.
 *   <li>Statistics are taken by shifted sums and merged in F64 by Chan's formula in a fixed order:
 *       accurate at any mean, and the same bits from run to run and for any number of threads.
 *   <li>Training with one value per channel is an error. An empty batch gives empty outputs, leaves
 *       statistics alone and has zero gradients. NaN or Inf in a channel stays in that channel. A
 *       constant channel gives exactly beta and finite gradients.
 *   <li>ReLU keeps NaN; its gradient passes where !(v &lt;= 0), v recomputed by the very numbers
 *       that the forward used, or read from the mask that a residual forward kept.
 *   <li>A wrong argument is an IllegalArgumentException that names shapes and dtypes, a closed
 *       tensor an IllegalStateException, a failing driver a {@link org.fusednorm.BackendException}.
 *   <li>A training step allocates nothing after its first, on the Java heap or off it.
 * </ul>
 */
package org.fusednorm;
