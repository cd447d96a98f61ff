// Per channel, in F64: parts merged, and what a forward saves and a backward needs.
#pragma once

#include "norm.cuh"

BN_DEVICE double sum_over_warp(double v) {
  BN_UNROLL_BY(1)
  for (int m = 16; m > 0; m /= 2) v += __shfl_xor_sync(~0u, v, m);
  return v;
}

// Parts of the channels: `slices` for each, all of `values` but the last one.
struct Parts {
  const double* parts;
  int64_t slices, values, total;  // total: values of a channel; 0 slices: no values

  BN_DEVICE double count(int64_t slice) const {
    return double(slice + 1 < slices ? values : total - slice * values);
  }

  // Mean and M2 of a channel by Chan's formula for many parts (Chan, Golub and LeVeque 1979), about
  // the first one's mean so that a constant stays exact. All lanes of a warp get both.
  BN_DEVICE void moments(int64_t channel, double& mean, double& m2) const {
    mean = 0;
    m2 = 0;
    if (slices == 0) return;
    const double* const p = parts + 2 * channel * slices;
    const double first = load_fresh(p);
    const int lane = threadIdx.x % 32;
    BN_UNROLL_BY(1)
    for (int64_t i = lane; i < slices; i += 32) mean += count(i) * (load_fresh(p + 2 * i) - first);
    mean = first + sum_over_warp(mean) / double(total);
    BN_UNROLL_BY(1)
    for (int64_t i = lane; i < slices; i += 32) {
      const double d = load_fresh(p + 2 * i) - mean;
      m2 += load_fresh(p + 2 * i + 1) + count(i) * (d * d);
    }
    m2 = sum_over_warp(m2);
  }

  // The two sums of a channel. All lanes of a warp get both.
  BN_DEVICE void sums(int64_t channel, double& p, double& q) const {
    p = 0;
    q = 0;
    const double* const part = parts + 2 * channel * slices;
    BN_UNROLL_BY(1)
    for (int64_t i = threadIdx.x % 32; i < slices; i += 32) {
      p += load_fresh(part + 2 * i);
      q += load_fresh(part + 2 * i + 1);
    }
    p = sum_over_warp(p);
    q = sum_over_warp(q);
  }
};

// A coefficient of F32 or F64.
struct Coefficient {
  bool wide;
  BN_DEVICE double get(const void* p, int64_t i, double otherwise) const {
    if (!p) return otherwise;
    return wide ? ((const double*)p)[i] : double(((const float*)p)[i]);
  }
  BN_DEVICE void put(void* p, int64_t i, double v) const {
    if (wide) {
      ((double*)p)[i] = v;
    } else {
      ((float*)p)[i] = float(v);
    }
  }
  BN_DEVICE double rounded(double v) const { return wide ? v : double(float(v)); }
};

// What a forward saves, and gamma and beta (null: 1 and 0).
struct SavedOut {
  int64_t* count;  // null, as mean, variance and invstd: inference keeps the coefficients alone
  double *mean, *variance, *invstd;
  void *center, *scale, *shift;  // coefficients
  const void *gamma, *beta;
  double eps;
  int64_t wide;  // coefficients are F64

  // What follows from a channel's mean and variance, given its gamma and beta.
  struct Numbers {
    double mean, variance, invstd, center, scale, shift;
  };
  BN_DEVICE Numbers numbers(double of_gamma, double of_beta, double m, double v) const {
    const Coefficient type{wide != 0};
    // A constant channel with eps 0 is beta, and its gradient 0.
    const double inverse = v + eps == 0 ? 0 : 1 / sqrt(v + eps);
    const double a = of_gamma * inverse;
    const double c = type.rounded(m);
    return {m, v, inverse, c, a, of_beta - (m - c) * a};
  }
  BN_DEVICE void put(int64_t channel, const Numbers& n) const {
    const Coefficient type{wide != 0};
    if (mean) {
      mean[channel] = n.mean;
      variance[channel] = n.variance;
      invstd[channel] = n.invstd;
    }
    type.put(center, channel, n.center);
    type.put(scale, channel, n.scale);
    type.put(shift, channel, n.shift);
  }
  BN_DEVICE void put(int64_t channel, double m, double v) const {
    const Coefficient type{wide != 0};
    put(channel, numbers(type.get(gamma, channel, 1), type.get(beta, channel, 0), m, v));
  }
  BN_DEVICE void put_count(int64_t n) const {
    if (count) *count = n;
  }
};

// What a forward saved, and where the gradient's coefficients go.
struct SlopesOut {
  const int64_t* count;
  const double *mean, *invstd;
  const void *center, *scale;
  void *slope, *offset;  // null: not wanted
  int64_t wide;

  // What the forward left of a channel. n is 0 for constant statistics.
  struct Kept {
    double n, mean, invstd, c;

    // Sum of dy xhat, given that of dy (x - c) kReduction.
    BN_DEVICE double against_xhat(double dy, double dy_centered) const {
      return (dy_centered * kEnlargement + (c - mean) * dy) * invstd;
    }
    // See InputGradient. Of constant statistics dx is a dy.
    BN_DEVICE double slope(double dy_xhat) const { return n == 0 ? 0 : dy_xhat / n * invstd; }
    BN_DEVICE double offset(double dy, double of_slope) const {
      return n == 0 ? 0 : dy / n + (c - mean) * of_slope;
    }
  };
  BN_DEVICE Kept kept(int64_t channel) const {
    const Coefficient type{wide != 0};
    return {double(*count), mean[channel], invstd[channel], type.get(center, channel, 0)};
  }

  BN_DEVICE void put(int64_t channel, double dy, double dy_xhat) const {
    const Coefficient type{wide != 0};
    const Kept k = kept(channel);
    const double p = k.slope(dy_xhat);
    type.put(slope, channel, p);
    type.put(offset, channel, k.offset(dy, p));
  }

  // Given the sums of a channel: writes those of dy and dy xhat to `packed`, and slope and offset.
  BN_DEVICE void finish(int64_t channel, int64_t channels, double dy, double dy_centered,
                        double* packed) const {
    const double dy_xhat = kept(channel).against_xhat(dy, dy_centered);
    packed[channel] = dy;
    packed[channels + channel] = dy_xhat;
    if (slope) put(channel, dy, dy_xhat);
  }
};
