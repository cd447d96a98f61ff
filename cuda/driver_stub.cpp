// A libcuda.so.1 for tests on machines without a driver: it answers what the environment tells it
// to, up to the image and its entries, and runs nothing.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CALL(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

static int number(const char* variable, int otherwise) {
  const char* const text = getenv(variable);
  return text ? atoi(text) : otherwise;
}

CALL(cuInit, unsigned) { return number("STUB_INIT", 0); }
CALL(cuDriverGetVersion, int* version) { return *version = number("STUB_VERSION", 13000), 0; }
CALL(cuDeviceGetCount, int* count) { return *count = 2, 0; }
CALL(cuDeviceGet, int* device, int ordinal) { return *device = ordinal, 0; }
CALL(cuDeviceGetName, char* name, int size, int device) {
  return strncpy(name, device == 0 ? "Stub Zero" : "Stub One", size), 0;
}
CALL(cuDeviceTotalMem_v2, size_t* bytes, int) { return *bytes = size_t{5} << 30, 0; }
CALL(cuDeviceGetAttribute, int* value, int attribute, int device) {
  // The second device is a 6.1 in any case; attribute 75 is the major number, 76 the minor one.
  const int architecture = device == 0 ? number("STUB_ARCHITECTURE", 90) : 61;
  return *value = attribute == 75 ? architecture / 10 : architecture % 10, 0;
}
CALL(cuDevicePrimaryCtxRetain, void** context, int) { return *context = context, 0; }
CALL(cuDevicePrimaryCtxRelease_v2, int) { return 0; }
CALL(cuCtxPushCurrent_v2, void*) { return 0; }
CALL(cuCtxPopCurrent_v2, void**) { return 0; }
CALL(cuModuleLoadDataEx, void** module, const void* image, unsigned options, int*, void**) {
  uint32_t magic;
  memcpy(&magic, image, sizeof magic);
  *module = module;
  // CUDA 12's drivers know no image of 13's compiler, but PTX.
  const bool image_known = number("STUB_VERSION", 13000) >= 13000;
  const bool known =
      image_known ? magic == 0xba55ed50 : strstr((const char*)image, ".version 8.0\n") != nullptr;
  return known && options == 0 ? 0 : 200;
}
CALL(cuModuleUnload, void*) { return 0; }
CALL(cuModuleGetFunction, void** function, void*, const char* name) {
  const char* const absent = getenv("STUB_ABSENT");
  *function = function;
  return absent && strcmp(absent, name) == 0 ? 500 : 0;
}
