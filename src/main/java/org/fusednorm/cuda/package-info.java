/**
 * The GPU: the CUDA driver through JCuda, and the kernels that come with the jar. Internal; the
 * only package that imports {@code jcuda.*}, and no type of JCuda leaves it.
 *
 * <p>Nothing but the driver's own library, {@code libcuda.so.1}, is needed: no CUDA toolkit. What
 * is missing is found out once, step by step, and never by an exception: see {@link
 * org.fusednorm.cuda.CudaDriver#status()}. Settings: {@code -Dfusednorm.cuda=off} and {@code
 * -Dfusednorm.cuda.libcuda=PATH}, or the environment variables {@code FUSEDNORM_CUDA} and {@code
 * FUSEDNORM_CUDA_LIBCUDA}; {@code -Dfusednorm.cuda.memory=4g}, the most bytes to take from a
 * device; of matrix products {@code -Dfusednorm.cuda.cublas} and {@code -Dfusednorm.cuda.tf32}.
 */
package org.fusednorm.cuda;
