package org.fusednorm;

/**
 * Statistics kept over batches for inference, in F64 so that they lose nothing at large means.
 *
 * @param mean F64, one value per channel
 * @param variance F64, one value per channel
 * @param count I64, one element: number of batches committed so far
 * @param momentum weight of the new value (PyTorch's meaning); null for the cumulative average, in
 *     which every batch weighs the same
 * @param unbiased whether the batch variance enters times m / (m - 1), as in the paper's Alg. 2
 */
public record Running(
    Tensor mean, Tensor variance, Tensor count, Scalar momentum, boolean unbiased) {}
