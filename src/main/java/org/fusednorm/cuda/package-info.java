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
 *
 * <p>Of normalization: {@code -Dfusednorm.cuda.single-pass=off} leaves out the kernels that hold a
 * channel on the chip, a kind such as {@code rr_c2} takes that one wherever it fits; {@code
 * -Dfusednorm.cuda.tickets=false} makes each half of a step a launch of its own. {@code
 * -Dfusednorm.autotune=true} times once what a shape could do on this GPU and keeps the fastest in
 * {@code fusednorm/tuning.json} in the user's cache folder ({@code $XDG_CACHE_HOME} or {@code
 * ~/.cache}), by GPU, driver, kernels, shape and type. Whatever is chosen has the documented
 * accuracy and the same bits from run to run as long as the choice is the same; single-pass kernels
 * sum in another order than the others, so that the last bits may differ between choices. Kernels
 * whose blocks wait for each other all over the GPU ({@code sg_grid}, for channels that are too
 * large for a cluster) belong to the first engine of a device that is open; a second one at the
 * same time does without them.
 */
package org.fusednorm.cuda;
