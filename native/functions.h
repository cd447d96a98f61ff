// Activations of F32 on their own: exp(t) = 2^n exp(r), n = round(t / ln 2) and |r| <= ln 2 / 2,
// with exp(r) by its Taylor series to r^7 (remainder under 6e-9). Good to 2.5e-7 of the result, and
// to a few units in the last place where that is subnormal.

#pragma once

#include "vector.h"

namespace {

// Adding it rounds a small float to an integer, which then is in the low bits.
constexpr float kRound = 0x1.8p23f;
constexpr int32_t kRoundBits = 0x4b400000;

// ln 2 in two parts; the first has so few bits that its product with n is exact.
constexpr float kPerLn2 = 1.44269504f;
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;

struct Exp {
  F m1;             // exp(r) - 1
  IntReg n[kRegs];  // and the power of 2
};

INLINE F at_least(F v, float low) {
  EACH_REG(k) v.r[k] = v.r[k] < low ? Reg{} + low : v.r[k];
  return v;
}

INLINE F minus_abs(F v) {
  EACH_REG(k) v.r[k] = (Reg)((IntReg)v.r[k] | INT32_MIN);
  return v;
}

INLINE Exp exp_of(F t) {
  Exp e;
  const F z = fma(t, set(kPerLn2), set(kRound));
  EACH_REG(k) e.n[k] = (IntReg)z.r[k] - kRoundBits;
  const F n = sub(z, set(kRound));
  const F r = fma(n, set(-kLn2Low), fma(n, set(-kLn2High), t));
  F p = fma(r, set(1.0f / 5040), set(1.0f / 720));
  p = fma(r, p, set(1.0f / 120));
  p = fma(r, p, set(1.0f / 24));
  p = fma(r, p, set(1.0f / 6));
  p = fma(r, p, set(0.5f));
  e.m1 = fma(mul(r, r), p, r);
  return e;
}

INLINE F power_of_two(const IntReg (&n)[kRegs]) {
  F f;
  EACH_REG(k) f.r[k] = (Reg)((n[k] + 127) << 23);
  return f;
}

// min(1, exp(v)) / (1 + exp(-|v|)), accurate where it is tiny too.
INLINE F sigmoid(F v) {
  const Exp e = exp_of(at_least(minus_abs(v), -104));
  // In two factors, so that a subnormal result is rounded once.
  IntReg half[kRegs], rest[kRegs];
  EACH_REG(k) {
    half[k] = e.n[k] >> 1;
    rest[k] = e.n[k] - half[k];
  }
  const F u = mul(mul(add(set(1), e.m1), power_of_two(half)), power_of_two(rest));
  F top = u;
  EACH_REG(k) top.r[k] = v.r[k] >= 0 ? Reg{} + 1 : u.r[k];
  return div(top, add(set(1), u));
}

// (1 - u) / (1 + u), u = exp(-2 |v|) = s (1 + e): 1 - u as (1 - s) - s e cancels nothing near 0.
INLINE F tanh(F v) {
  const F t = minus_abs(v);
  const Exp e = exp_of(at_least(add(t, t), -80));
  const F s = power_of_two(e.n);
  const F part = mul(s, e.m1);
  F y = div(sub(sub(set(1), s), part), add(add(set(1), s), part));
  EACH_REG(k) y.r[k] = (Reg)((IntReg)y.r[k] | ((IntReg)v.r[k] & INT32_MIN));
  return y;
}

template <class Function>
INLINE void each_unit(int64_t n, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}

// y = f(x), with the numbers of org.fusednorm.Nonlinearity.
void activate(int function, const float* x, float* y, int64_t n) {
  switch (function) {
    case 0:
      return each_unit(
          n, [=](int64_t i, int64_t m) { store_some(y + i, sigmoid(load_some(x + i, m)), m); });
    case 1:
      return each_unit(
          n, [=](int64_t i, int64_t m) { store_some(y + i, tanh(load_some(x + i, m)), m); });
    default:
      return each_unit(n, [=](int64_t i, int64_t m) {
        const F v = load_some(x + i, m);
        store_some(y + i, keep(v, v), m);
      });
  }
}

// dx = dy f'(.), from y = f(.).
void activation_gradient(int function, const float* y, const float* dy, float* dx, int64_t n) {
  switch (function) {
    case 0:
      return each_unit(n, [=](int64_t i, int64_t m) {
        const F v = load_some(y + i, m);
        store_some(dx + i, mul(load_some(dy + i, m), mul(v, sub(set(1), v))), m);
      });
    case 1:
      return each_unit(n, [=](int64_t i, int64_t m) {
        const F v = load_some(y + i, m);
        store_some(dx + i, mul(load_some(dy + i, m), sub(set(1), mul(v, v))), m);
      });
    default:
      return each_unit(n, [=](int64_t i, int64_t m) {
        store_some(dx + i, keep(load_some(dy + i, m), load_some(y + i, m)), m);
      });
  }
}

}  // namespace
