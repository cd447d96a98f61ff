// A library of the name libcublas.so.12 whose functions are those of libcublas.so.13, so that
// JCublas 12.6, which asks for the former, runs where CUDA 13 is all there is. Version 13 has every
// function that JCublas binds (symbols.txt), with the same arguments, under another version.
//
// Loaded after libcublas.so.13, by its full path or where the loader finds it. What that does not
// have answers CUBLAS_STATUS_NOT_SUPPORTED.

#include <dlfcn.h>

// dlopen and dlsym as every glibc has them, not only the newest.
asm(".symver dlopen, dlopen@GLIBC_2.2.5");
asm(".symver dlsym, dlsym@GLIBC_2.2.5");

namespace {

const char* const names[] = {
#define FORWARD(name, number) #name,
#include "forwards.inc"
#undef FORWARD
};
constexpr int kFunctions = sizeof names / sizeof *names;

int not_supported() { return 15; }

}  // namespace

// Where each function goes on.
extern "C" __attribute__((visibility("hidden"))) void* fusednorm_cublas_targets[kFunctions];
void* fusednorm_cublas_targets[kFunctions];

// A function is a jump: arguments and stack are left as the caller made them.
#define FORWARD(name, number)                      \
  asm(".text\n"                                    \
      ".globl " #name                              \
      "\n"                                         \
      ".type " #name                               \
      ", @function\n"                              \
      ".p2align 4\n" #name                         \
      ":\n"                                        \
      "  endbr64\n"                                \
      "  jmp *fusednorm_cublas_targets+8*" #number \
      "(%rip)\n"                                   \
      ".size " #name ", .-" #name "\n");
#include "forwards.inc"
#undef FORWARD

__attribute__((constructor)) static void find_targets() {
  void* const library = dlopen("libcublas.so.13", RTLD_LAZY | RTLD_LOCAL);
  for (int i = 0; i < kFunctions; ++i) {
    void* const target = library ? dlsym(library, names[i]) : nullptr;
    fusednorm_cublas_targets[i] = target ? target : reinterpret_cast<void*>(&not_supported);
  }
}
