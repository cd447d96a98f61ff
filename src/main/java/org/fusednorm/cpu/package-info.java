/**
 * The CPU engine: splits every verb into ranges that depend on shapes only, hands them to a private
 * pool of threads and merges partial results in a fixed order, so that results are the same bit for
 * bit for any number of threads.
 *
 * <p>The way of a normalization verb is {@code CpuEngine -> NormCall (split, merge, per-channel
 * numbers in F64) -> NormKernels (one range)}. Only the last knows how elements are computed.
 */
package org.fusednorm.cpu;
