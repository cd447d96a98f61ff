/**
 * Training kit over the core: layers, loss, optimizer, initializers, checkpoints.
 *
 * <p>A {@link org.fusednorm.nn.Layer} holds parameters. Bound to an input tensor it becomes a
 * {@link org.fusednorm.nn.Bound}, which holds the activations and took all its memory then: a
 * training step allocates nothing, so it can be kept by {@link org.fusednorm.Backend#record} and
 * replayed for every batch.
 *
 * <pre>{@code
 * gather(batch into x, labels); net.forward(); loss.forward();
 * net.backward(loss.dlogits(), Write.SET); sgd.step();
 * }</pre>
 *
 * <p>Data is [batch, ...], one example per entry of the first dimension. Names of parameters and of
 * saved tensors are PyTorch's: {@code dense1.weight}, {@code norm1.running_mean}.
 */
package org.fusednorm.nn;
