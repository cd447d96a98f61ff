// Host memory for org.fusednorm.host.NativeLibrary. Java has checked every argument: the only
// failure left is an allocation that the system refuses.

#include <jni.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace {

// Each block is preceded by one cache line that holds its size, so that what is live can be counted
// exactly without a table.
constexpr size_t kHeader = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kHugeFrom = size_t{4} << 20;

int64_t live_bytes = 0;

void* pointer(jlong address) { return reinterpret_cast<void*>(address); }

}  // namespace

#define ENTRY(type, name) \
  extern "C" JNIEXPORT type JNICALL Java_org_fusednorm_host_NativeLibrary_##name

ENTRY(jstring, version0)(JNIEnv* env, jclass) { return env->NewStringUTF(FUSEDNORM_VERSION); }

ENTRY(jlong, allocate0)(JNIEnv*, jclass, jlong bytes) {
  const bool huge = static_cast<size_t>(bytes) >= kHugeFrom;
  void* base;
  if (posix_memalign(&base, huge ? kHugePage : kHeader, kHeader + bytes) != 0) return 0;
  // Advice only: a kernel without huge pages leaves the block as it is.
  if (huge) madvise(base, kHeader + bytes, MADV_HUGEPAGE);
  *static_cast<int64_t*>(base) = bytes;
  __atomic_add_fetch(&live_bytes, bytes, __ATOMIC_RELAXED);
  return reinterpret_cast<jlong>(base) + kHeader;
}

ENTRY(void, free0)(JNIEnv*, jclass, jlong address) {
  void* base = pointer(address - kHeader);
  __atomic_sub_fetch(&live_bytes, *static_cast<int64_t*>(base), __ATOMIC_RELAXED);
  free(base);
}

ENTRY(jlong, allocatedBytes0)(JNIEnv*, jclass) {
  return __atomic_load_n(&live_bytes, __ATOMIC_RELAXED);
}

ENTRY(jobject, window0)(JNIEnv* env, jclass, jlong address, jint bytes) {
  return env->NewDirectByteBuffer(pointer(address), bytes);
}

ENTRY(jlong, address0)(JNIEnv* env, jclass, jobject direct) {
  return reinterpret_cast<jlong>(env->GetDirectBufferAddress(direct));
}

ENTRY(void, copy0)(JNIEnv*, jclass, jlong from, jlong to, jlong bytes) {
  memmove(pointer(to), pointer(from), bytes);
}

ENTRY(void, fill0)(JNIEnv*, jclass, jlong address, jlong bytes, jbyte value) {
  memset(pointer(address), value, bytes);
}
