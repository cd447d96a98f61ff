// What the normalization kernels share: how they reach elements, walk over them, and the one
// formula of the normalized value. Data is outer x channels x inner elements.
//
// A unit is what a thread loads at once, 16 bytes or one element. Where no unit holds a part of two
// channels' planes, units form columns: a column is one channel (its units share it: "fold") or, if
// inner is 1, as many channels as a unit has elements. A task is a slice of `width` neighbouring
// columns; the threads of a block share it, `width` of them side by side.
#pragma once

#include <type_traits>

#include "portable.cuh"

constexpr int kThreads = 256;  // of every block, but where an entry says otherwise
constexpr int kWarps = kThreads / 32;

enum Type : int64_t { kF32, kF16, kBF16 };

// ---- units ----
// Each has: the Value computed in, its elements, what a load brings (Raw), and the single element.

struct SingleFloats;

struct VectorsOfF32 {
  using Value = float;
  using Raw = Packed;
  using Single = SingleFloats;
  static constexpr int kElements = 4;

  BN_DEVICE explicit VectorsOfF32(int64_t) {}
  static BN_DEVICE Raw once(const void* p, int64_t i) { return load_once((const Packed*)p + i); }
  static BN_DEVICE Raw kept(const void* p, int64_t i) { return load_kept((const Packed*)p + i); }
  static BN_DEVICE void unpack(const Raw& raw, float (&v)[4]) { F32::unpack(raw, v); }
  static BN_DEVICE void put(void* p, int64_t i, const float (&v)[4]) {
    store((Packed*)p + i, F32::pack(v));
  }
  static BN_DEVICE float get(const void* p, int64_t i) { return load_once((const float*)p + i); }
};

// N values of 16 bits, 8 or, where registers are short, 4.
template <int N>
struct VectorsOfHalf {
  using Value = float;
  using Raw = std::conditional_t<N == 8, Packed, PackedHalf>;
  using Single = SingleFloats;
  static constexpr int kElements = N;
  const bool brain;  // BF16, else F16

  BN_DEVICE explicit VectorsOfHalf(int64_t type) : brain(type == kBF16) {}
  static BN_DEVICE Raw once(const void* p, int64_t i) { return load_once((const Raw*)p + i); }
  static BN_DEVICE Raw kept(const void* p, int64_t i) { return load_kept((const Raw*)p + i); }
  BN_DEVICE void unpack(const Raw& raw, float (&v)[N]) const {
    BN_UNROLL
    for (int i = 0; i < N; ++i) {
      const uint16_t half = uint16_t(raw.word[i / 2] >> 16 * (i % 2));
      v[i] = brain ? BF16::widen(half) : F16::widen(half);
    }
  }
  BN_DEVICE void put(void* p, int64_t i, const float (&v)[N]) const {
    Raw raw;
    BN_UNROLL
    for (int k = 0; k < N / 2; ++k) {
      raw.word[k] = brain ? BF16Format::narrow(v[2 * k], v[2 * k + 1])
                          : F16Format::narrow(v[2 * k], v[2 * k + 1]);
    }
    store((Raw*)p + i, raw);
  }
  BN_DEVICE float get(const void* p, int64_t i) const {
    const uint16_t v = load_once((const uint16_t*)p + i);
    return brain ? BF16::widen(v) : F16::widen(v);
  }
};

// One element of F32, F16 or BF16, at any address.
struct SingleFloats {
  using Value = float;
  using Raw = float;
  using Single = SingleFloats;
  static constexpr int kElements = 1;
  const bool wide, brain;

  BN_DEVICE explicit SingleFloats(int64_t type) : wide(type == kF32), brain(type == kBF16) {}
  BN_DEVICE Raw once(const void* p, int64_t i) const { return get(p, i); }
  BN_DEVICE Raw kept(const void* p, int64_t i) const { return get(p, i); }
  static BN_DEVICE void unpack(const Raw& raw, float (&v)[1]) { v[0] = raw; }
  BN_DEVICE float get(const void* p, int64_t i) const {
    if (wide) return load_once((const float*)p + i);
    const uint16_t v = load_once((const uint16_t*)p + i);
    return brain ? BF16::widen(v) : F16::widen(v);
  }
  BN_DEVICE void put(void* p, int64_t i, const float (&v)[1]) const {
    if (wide) {
      store((float*)p + i, v[0]);
    } else {
      store((uint16_t*)p + i, brain ? BF16::narrow(v[0]) : F16::narrow(v[0]));
    }
  }
};

struct SingleDoubles {
  using Value = double;
  using Raw = double;
  using Single = SingleDoubles;
  static constexpr int kElements = 1;

  BN_DEVICE explicit SingleDoubles(int64_t) {}
  static BN_DEVICE Raw once(const void* p, int64_t i) { return get(p, i); }
  static BN_DEVICE Raw kept(const void* p, int64_t i) { return get(p, i); }
  static BN_DEVICE void unpack(const Raw& raw, double (&v)[1]) { v[0] = raw; }
  static BN_DEVICE double get(const void* p, int64_t i) { return load_once((const double*)p + i); }
  static BN_DEVICE void put(void* p, int64_t i, const double (&v)[1]) {
    store((double*)p + i, v[0]);
  }
};

// ---- columns ----

// n / divisor by a factor that the host computed, with no subroutine. n is below 2^53.
BN_DEVICE int64_t quotient(int64_t n, int64_t divisor, double reciprocal, int64_t& rest) {
  int64_t q = int64_t(double(n) * reciprocal);
  rest = n - q * divisor;
  if (rest < 0) {
    --q;
    rest += divisor;
  } else if (rest >= divisor) {
    ++q;
    rest -= divisor;
  }
  return q;
}

struct Columns {
  int64_t outer, columns, inner;  // in units; inner is 1 where a column has several channels
  int64_t fold;                   // 1: the elements of a unit share a channel
  int64_t width;                  // columns of a task: 1 if they fold, else a power of two up to 32
  int64_t slice, slices;          // units of a column in a task; the last one may have fewer
  int64_t step_position;          // kThreads / width units on: modulo inner,
  int64_t step_address;           // and as the distance where position does not reach inner
  double per_inner, per_slices;   // 1 / inner, 1 / slices
  double per_values, per_rest;    // 1 / values of a channel in a slice, and in the last one

  BN_DEVICE int64_t units() const { return outer * inner; }
  BN_DEVICE int64_t tasks() const { return (columns + width - 1) / width * slices; }
  template <int E>
  BN_DEVICE int channels_of_unit() const {
    return fold ? 1 : E;
  }
  BN_DEVICE int units_of(int64_t of_slice) const {
    const int64_t rest = units() - of_slice * slice;
    return int(rest < slice ? rest : slice);
  }
};

// Where a thread stands in a task. Every thread makes the same number of rounds, some of them idle.
struct Walker {
  int64_t group, slice;  // of columns; of their units
  int64_t column;        // the thread's
  int64_t top;           // address of the column's first unit in the slice
  int64_t address, position;
  int left;    // units that the block has not come to yet, from this thread on
  int rounds;  // of the block

  BN_DEVICE Walker(const Columns& w, int64_t task) {
    const int width = int(w.width), lanes = kThreads / width;
    group = quotient(task, w.slices, w.per_slices, slice);
    column = group * width + (threadIdx.x & (width - 1));
    const int lane = int(threadIdx.x) / width, count = w.units_of(slice);
    const int64_t first = slice * w.slice;
    top = at(w, first, position);
    address = at(w, first + lane, position);
    left = column < w.columns ? count - lane : 0;
    rounds = (count + lanes - 1) / lanes;
  }
  BN_DEVICE bool active() const { return left > 0; }
  BN_DEVICE void advance(const Columns& w) {
    left -= kThreads / int(w.width);
    address += w.step_address;
    position += w.step_position;
    if (position >= w.inner) {
      position -= w.inner;
      address += (w.columns - 1) * w.inner;
    }
  }

 private:
  BN_DEVICE int64_t at(const Columns& w, int64_t unit, int64_t& position_of) const {
    const int64_t o = quotient(unit, w.inner, w.per_inner, position_of);
    return (o * w.columns + column) * w.inner + position_of;
  }
};

// Where a thread stands in (channel, position within the inner dimension), moved on by a fixed
// number of elements with no division.
struct Cursor {
  int64_t inner, channels;
  int64_t position, channel;
  int64_t position_step, channel_step;

  BN_DEVICE Cursor(int64_t first, int64_t step, int64_t inner, int64_t channels)
      : inner(inner),
        channels(channels),
        position(first % inner),
        channel(first / inner % channels),
        position_step(step % inner),
        channel_step(step / inner % channels) {}

  BN_DEVICE void advance() { move(position_step, channel_step); }

  BN_DEVICE void move(int64_t positions, int64_t channels_on) {
    position += positions;
    channel += channels_on;
    if (position >= inner) {
      position -= inner;
      ++channel;
    }
    if (channel >= channels) channel -= channels;
  }
};

// ---- the formula ----

// x - c could overflow: it is taken times this power of two, which changes no digit of it, and what
// it is multiplied with is divided by it.
constexpr float kReduction = 0x1p-2f, kEnlargement = 0x1p2f;

// Coefficients of the N elements of a unit.
template <class V, int N>
struct Coefficients {
  V minus_c[N], a[N], b[N];

  BN_DEVICE void set(int i, V center, V scale, V shift) {
    minus_c[i] = -(center * V(kReduction));
    a[i] = scale * V(kEnlargement);
    b[i] = shift;
  }
  // (x - c) * kReduction
  BN_DEVICE V centered(int i, V x) const { return fma_rn(x, V(kReduction), minus_c[i]); }
  BN_DEVICE V normalized(int i, V centered) const { return fma_rn(centered, a[i], b[i]); }
};

// Whether the gradient passes a relu whose argument is v; a NaN does.
template <class V>
BN_DEVICE bool passes(V v) {
  return !(v <= 0);
}

// ---- the gate: a bit for each element, in the order of elements ----

// What a unit's elements have there.
template <int E>
BN_DEVICE unsigned gate_bits(const uint8_t* gate, int64_t unit) {
  if (E == 8) return gate[unit];
  const int64_t element = unit * E;
  return unsigned(gate[element >> 3]) >> (element & 7) & ((1u << E) - 1);
}

// All lanes of a warp come here together, with neighbouring units: pairs that share a byte (E is 4)
// are active together, and so are 32 that share a word (E is 1) up to the last element.
template <int E>
BN_DEVICE void put_gate_bits(uint8_t* gate, int64_t unit, unsigned bits, bool active) {
  if (E == 8) {
    if (active) store(gate + unit, uint8_t(bits));
  } else if (E == 4) {
    const unsigned other = __shfl_xor_sync(~0u, bits, 1);
    if (active && threadIdx.x % 2 == 0) store(gate + (unit >> 1), uint8_t(bits | other << 4));
  } else {
    const unsigned word = __ballot_sync(~0u, active && bits);
    if (active && threadIdx.x % 32 == 0) store((uint32_t*)gate + (unit >> 5), word);
  }
}
