// Every kernel for one instruction set, chosen by the flags of the compiler: see Makefile. Nothing
// but the table leaves this file, so no function with one set's instructions can replace another's.

#include "kernels.h"

#include "channels.h"
#include "functions.h"
#include "planes.h"
#include "rows.h"
#include "training.h"

namespace {

// Calls f with a value of the type of the data.
template <class Visit>
INLINE void by_type(const Call& call, Visit f) {
  switch (call.type) {
    case 0:
      return f((float*)nullptr);
    case 1:
      return f((Bf16*)nullptr);
    default:
      return f((F16*)nullptr);
  }
}

template <Gate kGate>
struct GateOf {
  static constexpr Gate value = kGate;
};

// Calls f with the way in which ReLU acts.
template <class T, class Visit>
INLINE void by_gate(const Call& call, Visit f) {
  if constexpr (kOneGateForAll<T>) return f(GateOf<Gate::kAny>());
  if (!call.relu) return f(GateOf<Gate::kNone>());
  if (!call.gate) return f(GateOf<Gate::kRecomputed>());
  return f(GateOf<Gate::kKept>());
}

#define TYPE(p) __typeof__(*p)

void moments(const Call& call, const Range& r) {
  by_type(call, [&](auto* t) {
    return is_rows(call, r) ? row_moments<TYPE(t)>(call, r) : plane_moments<TYPE(t)>(call, r);
  });
}

void normalize(const Call& call, const Range& r) {
  by_type(call, [&](auto* t) {
    by_gate<TYPE(t)>(call, [&](auto gate) {
      return is_rows(call, r) ? row_normalize<TYPE(t), gate.value>(call, r)
                              : plane_normalize<TYPE(t), gate.value>(call, r);
    });
  });
  if (call.streams) stream_fence();
}

void gradient_sums(const Call& call, const Range& r) {
  by_type(call, [&](auto* t) {
    by_gate<TYPE(t)>(call, [&](auto gate) {
      return is_rows(call, r) ? row_gradient_sums<TYPE(t), gate.value>(call, r)
                              : plane_gradient_sums<TYPE(t), gate.value>(call, r);
    });
  });
}

void input_gradient(const Call& call, const Range& r) {
  by_type(call, [&](auto* t) {
    by_gate<TYPE(t)>(call, [&](auto gate) {
      return is_rows(call, r) ? row_input_gradient<TYPE(t), gate.value>(call, r)
                              : plane_input_gradient<TYPE(t), gate.value>(call, r);
    });
  });
  if (call.streams) stream_fence();
}

void normalize_and_moments(const Call& call, const Range& done, const Range& next) {
  const bool rows = is_rows(call, next);
  if (rows != is_rows(call, done)) {
    normalize(call, done);
    return moments(call, next);
  }
  by_type(call, [&](auto* t) {
    by_gate<TYPE(t)>(call, [&](auto gate) {
      return rows ? row_normalize_and_moments<TYPE(t), gate.value>(call, done, next)
                  : plane_normalize_and_moments<TYPE(t), gate.value>(call, done, next);
    });
  });
  if (call.streams) stream_fence();
}

}  // namespace

#define TABLE_OF(isa) kernels_##isa
#define TABLE(isa) TABLE_OF(isa)

const fusednorm::Kernels fusednorm::TABLE(FUSEDNORM_ISA) = {
    moments,
    normalize,
    gradient_sums,
    input_gradient,
    normalize_and_moments,
    finish_moments,
    load_coefficients,
    constant_coefficients,
    finish_sums,
    activate,
    activation_gradient,
    gather_bytes,
    softmax,
    sgd,
};
