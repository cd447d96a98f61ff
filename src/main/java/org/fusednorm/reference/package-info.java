/**
 * The oracle: every verb as a plain loop in binary64, one thread, no dependency. Internal; opened
 * as backend {@code reference}.
 *
 * <p>It exists to be right, not fast, and it shares no arithmetic with the other engines, its
 * 16-bit conversions included: what agrees with it agrees with the formula, not with a common
 * mistake.
 *
 * <p>Values are widened to binary64, computed there and rounded once when stored. One thing is
 * rounded earlier, on purpose: normalization evaluates y = (x - c) a + b with the coefficients as
 * {@link org.fusednorm.Saved} keeps them, in F32 for all data but F64. That formula over those
 * numbers is the contract, and as forward, normalize and the ReLU mask of backward all evaluate it
 * alike, the mask is the one that the forward saw. It costs 6e-8 of the coefficients; F64 data has
 * F64 coefficients and no such loss. Gradients take xhat from the F64 mean and deviation.
 *
 * <p>The mean is a first estimate around the first value, corrected once by the mean of the
 * deviations from it. So it is exact for a constant channel of any value and size, and neither a
 * mean far from zero nor an outlier in the first place costs digits that matter beside the
 * deviation. M2 is then summed in a pass of its own.
 */
package org.fusednorm.reference;
