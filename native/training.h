// What a training step does beside normalization and activations: rows of bytes become a batch, the
// loss of a batch, and gradient descent. Bytes and descent are the same operations in the same
// order as in the plain-Java twins, so the same bits.

#pragma once

#include "functions.h"
#include "kernels.h"

namespace {

INLINE int64_t bits_of(double v) {
  int64_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

INLINE double double_of(int64_t bits) {
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

// Each product is rounded once. With Scale a float as well as a double: neither rounds before.
template <typename Scale>
INLINE void scale_bytes(const uint8_t* __restrict in, float* __restrict out, Scale scale,
                        int64_t n) {
  for (int64_t j = 0; j < n; ++j) out[j] = (float)((Scale)in[j] * scale);
}

// out[i, :] = scale table[rows[i], :]. Rows lie anywhere in memory, so those that come next are
// asked for ahead, those behind the range too: whoever converts them is likely to be this thread.
void gather_bytes(const fusednorm::Gather& g, int64_t from, int64_t to) {
  constexpr int64_t kAhead = 6;
  constexpr int64_t kCacheLine = 64;
  const bool is_float = (double)(float)g.scale == g.scale;
  const auto ask_for = [&](int64_t i) {
    if (i >= g.count) return;
    const uint8_t* row = g.table + g.rows[i] * g.columns;
    for (int64_t j = 0; j < g.columns; j += kCacheLine) __builtin_prefetch(row + j);
  };
  for (int64_t i = from; i < from + kAhead; ++i) ask_for(i);
  for (int64_t i = from; i < to; ++i) {
    ask_for(i + kAhead);
    const uint8_t* in = g.table + g.rows[i] * g.columns;
    float* out = g.out + i * g.columns;
    if (is_float) {
      scale_bytes(in, out, (float)g.scale, g.columns);
    } else {
      scale_bytes(in, out, g.scale, g.columns);
    }
  }
}

// d = gradient + decay value; where there is a velocity, d = velocity = kept velocity + d;
// value -= rate d.
void sgd(const fusednorm::Descent& s, int64_t from, int64_t to) {
  const F rate = set(s.rate), kept = set(s.kept), decay = set(s.decay);
  each_unit(to - from, [&](int64_t i, int64_t m) {
    float* value = s.value + from + i;
    const F v = load_some(value, m);
    F d = add(load_some(s.gradient + from + i, m), mul(decay, v));
    if (s.velocity) {
      float* velocity = s.velocity + from + i;
      d = add(mul(kept, load_some(velocity, m)), d);
      store_some(velocity, d, m);
    }
    store_some(value, sub(v, mul(rate, d)), m);
  });
}

// u = exp(t) of numbers that are not positive, to the last bits of a double; 0 below -700. exp(t) =
// 2^k exp(r), k = round(t / ln 2), exp(r) by its Taylor series, without branches.
INLINE void exponentials(const double* __restrict t, double* __restrict u, int64_t n) {
  constexpr double kRound = 0x1.8p52;
  for (int64_t i = 0; i < n; ++i) {
    const double v = t[i] < -701 ? -701 : t[i];
    const double rounded = v * 1.4426950408889634 + kRound, k = rounded - kRound;
    const double r = (v - k * 0x1.62e42ffp-1) + k * 0x1.718432a1b0e26p-35;
    double p = 1.0 / 479001600 + r * (1.0 / 6227020800.0);
    p = 1.0 / 3628800 + r * (1.0 / 39916800 + r * p);
    p = 1.0 / 40320 + r * (1.0 / 362880 + r * p);
    p = 1.0 / 720 + r * (1.0 / 5040 + r * p);
    p = 1.0 / 24 + r * (1.0 / 120 + r * p);
    p = 0.5 + r * (1.0 / 6 + r * p);
    // The last bits of what was rounded are k.
    const int64_t power = (bits_of(rounded) - bits_of(kRound) + 1023) << 52;
    u[i] = t[i] < -700 ? 0 : (1 + (r + r * r * p)) * double_of(power);
  }
}

// A product of many numbers of at least 1, which would overflow, for its logarithm.
struct Product {
  double mantissa = 1;
  int64_t power = 0;

  INLINE_MEMBER void multiply(double by) {
    constexpr int64_t kMantissa = (int64_t(1) << 52) - 1;
    const int64_t bits = bits_of(mantissa * by);
    power += (bits >> 52) - 1023;
    mantissa = double_of((bits & kMantissa) | bits_of(1));
  }

  // By the series of 2 artanh(s), m = (1 + s) / (1 - s), of a mantissa between sqrt(1/2) and
  // sqrt(2). The C library's log would ask for a newer one than this library runs on.
  INLINE_MEMBER double log() const {
    const bool large = mantissa > 1.4142135623730951;
    const double m = large ? mantissa / 2 : mantissa;
    const double s = (m - 1) / (m + 1), q = s * s;
    double series = 0;
    for (int k = 21; k > 1; k -= 2) series = (series + 1.0 / k) * q;
    return 2 * (s + s * series) + (double)(power + large) * 0.6931471805599453;
  }
};

// The sum of -log softmax(row)[label] over rows from .. to - 1; where there is a d, its rows get
// the gradient by the logits of the mean over all rows.
double softmax(const fusednorm::Softmax& s, int64_t from, int64_t to) {
  double t[fusednorm::kMostClasses], u[fusednorm::kMostClasses];
  const int64_t columns = s.columns, most = fusednorm::kMostClasses / columns;
  const double each = 1.0 / s.rows;
  double chosen = 0, not_a_number = 0;
  Product sums;
  for (int64_t row = from; row < to; row += most) {
    const int64_t n = to - row < most ? to - row : most;
    const float* logits = s.logits + row * columns;
    for (int64_t r = 0; r < n; ++r) {
      const float* in = logits + r * columns;
      float max = in[0];
      for (int64_t j = 1; j < columns; ++j) max = in[j] > max ? in[j] : max;
      for (int64_t j = 0; j < columns; ++j) t[r * columns + j] = (double)in[j] - max;
      chosen += t[r * columns + s.label(row + r)];
    }
    exponentials(t, u, n * columns);
    for (int64_t r = 0; r < n; ++r) {
      double* p = u + r * columns;
      double sum = 0;
      for (int64_t j = 0; j < columns; ++j) sum += p[j];
      // NaN stays in its row's gradient, and in the loss.
      not_a_number += sum - sum;
      sums.multiply(sum);
      if (!s.d) continue;
      const double scale = each / sum;
      float* d = s.d + (row + r) * columns;
      const int64_t label = s.label(row + r);
      const float at_label = (float)(p[label] * scale - each);
      for (int64_t j = 0; j < columns; ++j) d[j] = (float)(p[j] * scale);
      d[label] = at_label;
    }
  }
  return sums.log() - chosen + not_a_number;
}

}  // namespace
