// Entries of org.fusednorm.cpu.Simd. Java has checked every argument and names the instruction set,
// one that this machine has.

#include <jni.h>

#include "kernels.h"

namespace {

using fusednorm::Call;
using fusednorm::Kernels;
using fusednorm::Range;

// In the order of org.fusednorm.host.Isa.
const Kernels* const kKernels[] = {
#if defined(__x86_64__)
    &fusednorm::kernels_sse2, &fusednorm::kernels_avx2, &fusednorm::kernels_avx512
#else
    &fusednorm::kernels_portable
#endif
};

template <class T>
T* pointer(jlong address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace

extern "C" JNIEXPORT jint JNICALL Java_org_fusednorm_host_NativeLibrary_isa0(JNIEnv*, jclass) {
#if defined(__x86_64__)
  // Asks for what the system saves on a context switch, too.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("f16c")) {
    return 0;
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return avx512 ? 2 : 1;
#else
  return 0;
#endif
}

#define ENTRY(name) extern "C" JNIEXPORT void JNICALL Java_org_fusednorm_cpu_Simd_##name
#define RANGE_ENTRY(name, verb)                                                             \
  ENTRY(name)                                                                               \
  (JNIEnv*, jclass, jint isa, jlong call, jlong outerFrom, jlong outerTo, jint channelFrom, \
   jint channelTo, jlong innerFrom, jlong innerTo, jlong slot) {                            \
    const Range r = {outerFrom, outerTo, channelFrom, channelTo, innerFrom, innerTo, slot}; \
    kKernels[isa]->verb(*pointer<const Call>(call), r);                                     \
  }

RANGE_ENTRY(moments, moments)
RANGE_ENTRY(normalize, normalize)
RANGE_ENTRY(gradientSums, gradient_sums)
RANGE_ENTRY(inputGradient, input_gradient)

// Channels of all planes: those that are written, and those that are read.
ENTRY(normalizeAndMoments)
(JNIEnv*, jclass, jint isa, jlong call, jlong outer, jlong inner, jint doneFrom, jint doneTo,
 jint nextFrom, jint nextTo) {
  const Range done = {0, outer, doneFrom, doneTo, 0, inner, 0};
  const Range next = {0, outer, nextFrom, nextTo, 0, inner, 0};
  kKernels[isa]->normalize_and_moments(*pointer<const Call>(call), done, next);
}

#define CHECKING_ENTRY(name) \
  extern "C" JNIEXPORT jboolean JNICALL Java_org_fusednorm_cpu_Simd_##name

CHECKING_ENTRY(finishMoments)
(JNIEnv*, jclass, jint isa, jlong call, jint channelFrom, jint channelTo) {
  return kKernels[isa]->finish_moments(*pointer<const Call>(call), channelFrom, channelTo);
}

CHECKING_ENTRY(loadCoefficients)(JNIEnv*, jclass, jint isa, jlong call) {
  return kKernels[isa]->load_coefficients(*pointer<const Call>(call));
}

CHECKING_ENTRY(constantCoefficients)(JNIEnv*, jclass, jint isa, jlong call) {
  return kKernels[isa]->constant_coefficients(*pointer<const Call>(call));
}

ENTRY(finishSums)
(JNIEnv*, jclass, jint isa, jlong call, jint channelFrom, jint channelTo) {
  kKernels[isa]->finish_sums(*pointer<const Call>(call), channelFrom, channelTo);
}

ENTRY(activate)(JNIEnv*, jclass, jint isa, jint function, jlong x, jlong y, jlong n) {
  kKernels[isa]->activate(function, pointer<const float>(x), pointer<float>(y), n);
}

ENTRY(activationGradient)
(JNIEnv*, jclass, jint isa, jint function, jlong y, jlong dy, jlong dx, jlong n) {
  kKernels[isa]->activation_gradient(function, pointer<const float>(y), pointer<const float>(dy),
                                     pointer<float>(dx), n);
}

ENTRY(gatherBytes)
(JNIEnv*, jclass, jint isa, jlong table, jlong rows, jlong out, jlong count, jlong columns,
 jdouble scale, jlong from, jlong to) {
  kKernels[isa]->gather_bytes({pointer<const uint8_t>(table), pointer<const int64_t>(rows),
                               pointer<float>(out), count, columns, scale},
                              from, to);
}

extern "C" JNIEXPORT jdouble JNICALL Java_org_fusednorm_cpu_Simd_softmax(
    JNIEnv*, jclass, jint isa, jlong logits, jlong labels, jboolean short_labels, jlong d,
    jlong rows, jlong columns, jlong from, jlong to) {
  return kKernels[isa]->softmax({pointer<const float>(logits), pointer<const void>(labels),
                                 short_labels != 0, pointer<float>(d), rows, columns},
                                from, to);
}

ENTRY(sgd)
(JNIEnv*, jclass, jint isa, jlong value, jlong gradient, jlong velocity, jfloat rate, jfloat kept,
 jfloat decay, jlong from, jlong to) {
  kKernels[isa]->sgd({pointer<float>(value), pointer<const float>(gradient),
                      pointer<float>(velocity), rate, kept, decay},
                     from, to);
}
