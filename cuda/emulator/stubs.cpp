// Every function that JCuda binds and no other file here defines: calling one that does not exist
// would end the JVM.

extern "C" int emulator_unsupported(const char* name);

#define STUB(name)                                                         \
  extern "C" __attribute__((weak, visibility("default"))) int name(void) { \
    return emulator_unsupported(#name);                                    \
  }
#include "stubs.inc"
