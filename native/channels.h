// What is computed per channel between the passes over the data, in double and by the operations of
// org.fusednorm.cpu.Channels, to the bit.

#pragma once

#include "runs.h"

namespace {

// Channels at a time, in arrays of their own: no pointer of a call keeps loops from being
// vectorized.
constexpr int64_t kChannels = 64;

// Up to here a center cannot make x - c overflow: half a unit in the last place of the largest.
constexpr double kFar = 0x1p100;

// Up to here, and from its inverse on, F32 holds products of two deviations or their inverses.
constexpr double kSteep = 0x1p50;

struct SomeChannels {
  double mean[kChannels], variance[kChannels], invstd[kChannels], gamma[kChannels], beta[kChannels];
  float center[kChannels], scale[kChannels], shift[kChannels];
};

INLINE int64_t is_wide(double invstd, double center) {
  const double far = __builtin_fabs(center);
  return -(int64_t)((invstd > kSteep) | ((invstd > 0) & (invstd < 1 / kSteep)) |
                    ((far > kFar) & (far <= kMostFloat)));
}

// The coefficients of n channels from mean and variance; whether one is wide.
INLINE bool set_coefficients(const Call& call, int64_t from, int64_t n, SomeChannels& s) {
  for (int64_t i = 0; i < n; ++i) s.gamma[i] = call.gamma ? call.gamma[from + i] : 1;
  for (int64_t i = 0; i < n; ++i) s.beta[i] = call.beta ? call.beta[from + i] : 0;
  const double eps = call.eps;
  // A loop for each kind of work: compilers make vectors of each.
  double slope[kChannels];
  for (int64_t i = 0; i < n; ++i) {
    const double v = s.variance[i] + eps;
    // A constant channel with eps 0 is beta, and its gradient 0.
    s.invstd[i] = (v == 0 ? 0.0 : 1.0) / __builtin_sqrt(v == 0 ? 1.0 : v);
    slope[i] = s.gamma[i] * s.invstd[i];
  }
  for (int64_t i = 0; i < n; ++i) s.center[i] = (float)s.mean[i];
  for (int64_t i = 0; i < n; ++i) s.scale[i] = (float)slope[i];
  for (int64_t i = 0; i < n; ++i) {
    s.shift[i] = (float)(s.beta[i] - (s.mean[i] - s.center[i]) * slope[i]);
  }
  int64_t wide = 0;
  for (int64_t i = 0; i < n; ++i) wide |= is_wide(s.invstd[i], s.center[i]);
  memcpy(call.center + from, s.center, n * sizeof(float));
  memcpy(call.scale + from, s.scale, n * sizeof(float));
  memcpy(call.shift + from, s.shift, n * sizeof(float));
  return wide != 0;
}

// Calls visit(from, n) for some channels after another.
template <class Visit>
INLINE void each_channels(int64_t from, int64_t to, Visit visit) {
  for (; from < to; from += kChannels) visit(from, to - from < kChannels ? to - from : kChannels);
}

// Merges the stripes' moments in order by Chan's formula, and saves what follows.
bool finish_moments(const Call& call, int64_t from, int64_t to) {
  bool wide = false;
  each_channels(from, to, [&](int64_t first, int64_t n) {
    SomeChannels s;
    memcpy(s.mean, call.part + first, n * sizeof(double));
    memcpy(s.variance, call.part2 + first, n * sizeof(double));
    double before = call.stripe_counts[0];
    for (int64_t k = 1; k < call.stripes; ++k) {
      const double *mean = call.part + k * call.channels + first,
                   *m2 = call.part2 + k * call.channels + first;
      const double count = call.stripe_counts[k];
      const double weight = count / (before + count), both = weight * before;
      for (int64_t i = 0; i < n; ++i) {
        const double d = mean[i] - s.mean[i];
        s.mean[i] += d * weight;
        s.variance[i] += m2[i] + d * d * both;
      }
      before += count;
    }
    const double count = call.count;
    for (int64_t i = 0; i < n; ++i) s.variance[i] /= count;
    wide |= set_coefficients(call, first, n, s);
    memcpy(call.mean + first, s.mean, n * sizeof(double));
    memcpy(call.variance + first, s.variance, n * sizeof(double));
    memcpy(call.invstd + first, s.invstd, n * sizeof(double));
    memcpy(call.saved_center + first, s.center, n * sizeof(float));
    memcpy(call.saved_scale + first, s.scale, n * sizeof(float));
    memcpy(call.saved_shift + first, s.shift, n * sizeof(float));
  });
  return wide;
}

// Takes the coefficients that a forward saved.
bool load_coefficients(const Call& call) {
  const int64_t n = call.channels;
  memcpy(call.center, call.saved_center, n * sizeof(float));
  memcpy(call.scale, call.saved_scale, n * sizeof(float));
  memcpy(call.shift, call.saved_shift, n * sizeof(float));
  int64_t wide = 0;
  for (int64_t c = 0; c < n; ++c) wide |= is_wide(call.invstd[c], call.saved_center[c]);
  return wide != 0;
}

// Computes those of statistics that are constants.
bool constant_coefficients(const Call& call) {
  bool wide = false;
  each_channels(0, call.channels, [&](int64_t first, int64_t n) {
    SomeChannels s;
    memcpy(s.mean, call.mean + first, n * sizeof(double));
    memcpy(s.variance, call.variance + first, n * sizeof(double));
    wide |= set_coefficients(call, first, n, s);
  });
  return wide;
}

// Adds the stripes' sums in order, turns g (x - c) into g xhat, and computes what the input
// gradient takes from both.
void finish_sums(const Call& call, int64_t from, int64_t to) {
  each_channels(from, to, [&](int64_t first, int64_t n) {
    double dy[kChannels] = {}, dy_xhat[kChannels] = {};
    float slope[kChannels] = {}, offset[kChannels] = {};
    for (int64_t k = 0; k < call.stripes; ++k) {
      const double *g = call.part + k * call.channels + first,
                   *gd = call.part2 + k * call.channels + first;
      for (int64_t i = 0; i < n; ++i) dy[i] += g[i];
      for (int64_t i = 0; i < n; ++i) dy_xhat[i] += gd[i];
    }
    const double *mean = call.mean + first, *invstd = call.invstd + first;
    const float *center = call.center + first, *scale = call.scale + first;
    const double count = call.count;
    for (int64_t i = 0; i < n; ++i) {
      dy_xhat[i] = (dy_xhat[i] + (center[i] - mean[i]) * dy[i]) * invstd[i];
    }
    for (int64_t i = 0; i < n && !call.constants; ++i) {
      const double per_value = dy_xhat[i] * invstd[i] / count;
      slope[i] = (float)(-(double)scale[i] * per_value);
      offset[i] = (float)(-(double)scale[i] * (dy[i] / count + (center[i] - mean[i]) * per_value));
    }
    memcpy(call.slope + first, slope, n * sizeof(float));
    memcpy(call.offset + first, offset, n * sizeof(float));
    memcpy(call.sum_dy + first, dy, n * sizeof(double));
    memcpy(call.sum_dy_xhat + first, dy_xhat, n * sizeof(double));
  });
}

}  // namespace
