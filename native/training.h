// What a training step does beside normalization and activations: rows of bytes become a batch, and
// gradient descent. The same operations in the same order as the plain-Java twins, so the same
// bits.

#pragma once

#include "functions.h"
#include "kernels.h"

namespace {

// out[i, :] = scale table[rows[i], :]. Rows lie anywhere in memory, so those that come next are
// asked for ahead.
void gather_bytes(const fusednorm::Gather& g, int64_t from, int64_t to) {
  constexpr int64_t kAhead = 4;
  constexpr int64_t kCacheLine = 64;
  const double scale = g.scale;
  for (int64_t i = from; i < to; ++i) {
    if (i + kAhead < to) {
      const uint8_t* next = g.table + g.rows[i + kAhead] * g.columns;
      for (int64_t j = 0; j < g.columns; j += kCacheLine) __builtin_prefetch(next + j);
    }
    const uint8_t* in = g.table + g.rows[i] * g.columns;
    float* __restrict out = g.out + i * g.columns;
    for (int64_t j = 0; j < g.columns; ++j) out[j] = (float)(in[j] * scale);
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

}  // namespace
