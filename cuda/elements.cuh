// Element by element: the forward's result and the gradient of its input.
#pragma once

#include "norm.cuh"

// Applies `op` to a task: each thread keeps the coefficients of its column.
template <class Units, class Op>
BN_DEVICE void apply_task(const Columns& w, const Units& units, const Op& op, int64_t task) {
  constexpr int E = Units::kElements, kBatch = Op::template kBatch<Units>;
  Walker at(w, task);
  typename Op::template Constants<E> constants;
  const auto find = [&](bool active) {
    const int each = w.channels_of_unit<E>();
    BN_UNROLL
    for (int e = 0; active && e < E; ++e) {
      op.find(constants, e, at.column * each + (w.fold ? 0 : e));
    }
  };
  if (!Op::kLoadsFirst) find(at.active());
  BN_UNROLL_BY(1)
  for (int round = 0; round < at.rounds; round += kBatch) {
    typename Op::template Loaded<Units> in[kBatch];
    int64_t address[kBatch];
    bool on[kBatch];
    BN_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      address[i] = at.address;
      on[i] = at.active();
      if (on[i]) in[i] = op.load(units, address[i]);
      at.advance(w);
    }
    if (Op::kLoadsFirst && round == 0) find(on[0]);
    BN_UNROLL
    for (int i = 0; i < kBatch; ++i) {
      const unsigned bits = on[i] ? op.put(units, address[i], in[i], constants) : 0;
      op.template put_gate<E>(address[i], bits, on[i]);
    }
  }
}

// Applies `op` to all elements in their order, whatever their channels: w.inner and w.columns count
// elements and channels here. Eight elements fill a byte of the gate, so units beyond the last
// eight are taken one by one, by one warp.
template <class Units, class Op>
BN_DEVICE void apply_flat(const Columns& w, int64_t type, const Op& op) {
  constexpr int E = Units::kElements, kBatch = Op::kFlatBatch;
  const Units units(type);
  const int64_t elements = w.outer * w.columns * w.inner;
  const int64_t count = E == 1 ? elements : elements / 8 * (8 / E);
  const int64_t first = thread_in_grid(), step = threads_in_grid();
  const int lane = threadIdx.x % 32;
  Cursor at(first * E, step * E, w.inner, w.columns);
  BN_UNROLL_BY(1)
  for (int64_t start = first; start - lane < count; start += kBatch * step) {
    typename Op::template Loaded<Units> in[kBatch];
    BN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      const int64_t i = start + k * step;
      if (i < count) in[k] = op.load(units, i);
    }
    BN_UNROLL
    for (int k = 0; k < kBatch; ++k) {
      const int64_t i = start + k * step;
      unsigned bits = 0;
      if (i < count) {
        typename Op::template Constants<E> constants;
        Cursor of_element = at;
        op.find(constants, 0, at.channel);
        BN_UNROLL
        for (int e = 1; e < E; ++e) {
          of_element.move(1, 0);
          op.find(constants, e, of_element.channel);
        }
        bits = op.put(units, i, in[k], constants);
      }
      at.advance();
      op.template put_gate<E>(i, bits, i < count);
    }
  }
  if (E > 1 && blockIdx.x == 0 && threadIdx.x < 32) {
    using Singles = typename Units::Single;
    const Singles singles(type);
    const int64_t i = elements / 8 * 8 + lane;
    unsigned bits = 0;
    if (i < elements) {
      typename Op::template Constants<1> constants;
      op.find(constants, 0, i / w.inner % w.columns);
      bits = op.put(singles, i, op.load(singles, i), constants);
    }
    const unsigned byte = __ballot_sync(~0u, bits);
    if (elements % 8 != 0) op.put_last_gate(elements >> 3, byte);
  }
}

// y = f(fma(x - c, a, b) + residual), f the identity or relu; the gate has where relu passes.
template <class V>
struct Normalize {
  template <class Units>
  static constexpr int kBatch = 2;
  static constexpr int kFlatBatch = 2;
  static constexpr bool kLoadsFirst = false;

  const void *x, *residual;  // the second one may be null, and so may be the gate
  void* y;
  uint8_t* gate;
  const V *center, *scale, *shift;
  bool relu;

  template <int N>
  using Constants = Coefficients<V, N>;
  template <class Units>
  struct Loaded {
    typename Units::Raw x, residual;
  };

  template <int N>
  BN_DEVICE void find(Constants<N>& k, int e, int64_t channel) const {
    k.set(e, load_fresh(center + channel), load_fresh(scale + channel),
          load_fresh(shift + channel));
  }

  template <class Units>
  BN_DEVICE Loaded<Units> load(const Units& units, int64_t unit) const {
    Loaded<Units> in;
    in.x = units.once(x, unit);
    if (residual) in.residual = units.once(residual, unit);
    return in;
  }

  // Returns the gate's bits. relu(NaN) is NaN: fmaxf would turn it into 0.
  template <class Units, int N>
  BN_DEVICE unsigned put(const Units& units, int64_t unit, const Loaded<Units>& in,
                         const Coefficients<V, N>& k) const {
    V v[N];
    units.unpack(in.x, v);
    BN_UNROLL
    for (int e = 0; e < N; ++e) v[e] = k.normalized(e, k.centered(e, v[e]));
    if (residual) {
      V r[N];
      units.unpack(in.residual, r);
      BN_UNROLL
      for (int e = 0; e < N; ++e) v[e] = add_rn(v[e], r[e]);
    }
    unsigned bits = 0;
    if (relu) {
      BN_UNROLL
      for (int e = 0; e < N; ++e) {
        if (passes(v[e])) {
          bits |= 1u << e;
        } else {
          v[e] = 0;
        }
      }
    }
    units.put(y, unit, v);
    return bits;
  }

  template <int E>
  BN_DEVICE void put_gate(int64_t unit, unsigned bits, bool active) const {
    if (gate) put_gate_bits<E>(gate, unit, bits, active);
  }
  BN_DEVICE void put_last_gate(int64_t byte, unsigned bits) const {
    if (gate && threadIdx.x == 0) store(gate + byte, uint8_t(bits));
  }
};

// The same by itself, with registers for more loads at a time: about 24 KB of them have to be on
// their way to a multiprocessor. Nothing waits for constants before the first ones have started.
struct NormalizeAlone : Normalize<float> {
  template <class Units>
  static constexpr int kBatch = 4;
  static constexpr bool kLoadsFirst = true;
};

// dx = a (g - q - (x - c) p) with g = dy gated by the activation, and dResidual = g. Where p is 0
// the statistics were constants or no gradient came: dx does not depend on x then.
template <class V>
struct InputGradient {
  // No register is left for more.
  template <class Units>
  static constexpr int kBatch = sizeof(typename Units::Raw) == 16 ? 1 : 2;
  static constexpr int kFlatBatch = 1;
  static constexpr bool kLoadsFirst = false;

  const void *x, *dy;
  void *dx, *residual;  // the gradient of the residual may be null, and so may be the gate
  const uint8_t* gate;
  const V *center, *scale, *shift, *slope, *offset;
  bool relu;

  template <int N>
  struct Constants {
    Coefficients<V, N> forward;
    V minus_p[N], minus_q[N];  // times kReduction

    BN_DEVICE void set(int e, V of_slope, V of_offset) {
      minus_p[e] = -of_slope;
      minus_q[e] = -(of_offset * V(kReduction));
    }
  };
  template <class Units>
  struct Loaded {
    typename Units::Raw x, dy;
  };

  template <int N>
  BN_DEVICE void find(Constants<N>& k, int e, int64_t channel) const {
    k.forward.set(e, load_fresh(center + channel), load_fresh(scale + channel),
                  load_fresh(shift + channel));
    k.set(e, load_fresh(slope + channel), load_fresh(offset + channel));
  }

  template <class Units>
  BN_DEVICE Loaded<Units> load(const Units& units, int64_t unit) const {
    return {units.once(x, unit), units.once(dy, unit)};
  }

  template <class Units, int N>
  BN_DEVICE unsigned put(const Units& units, int64_t unit, const Loaded<Units>& in,
                         const Constants<N>& k) const {
    V v[N], g[N];
    units.unpack(in.x, v);
    units.unpack(in.dy, g);
    const unsigned bits = relu && gate ? gate_bits<N>(gate, unit) : ~0u;
    BN_UNROLL
    for (int e = 0; e < N; ++e) {
      const V centered = k.forward.centered(e, v[e]);
      const bool pass = relu && !gate ? passes(k.forward.normalized(e, centered)) : bits >> e & 1;
      g[e] = pass ? g[e] : 0;
      const V rest = fma_rn(g[e], V(kReduction), k.minus_q[e]);
      v[e] = k.forward.a[e] * (k.minus_p[e] != 0 ? fma_rn(k.minus_p[e], centered, rest) : rest);
    }
    if (residual) units.put(residual, unit, g);
    units.put(dx, unit, v);
    return 0;
  }

  template <int E>
  BN_DEVICE void put_gate(int64_t, unsigned, bool) const {}
  BN_DEVICE void put_last_gate(int64_t, unsigned) const {}
};
