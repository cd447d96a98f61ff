// A flow of control with a stack of its own: what runs one thread of a kernel. On x86-64 the switch
// is a dozen instructions, elsewhere it is ucontext's.
#pragma once

#include <stddef.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator {

// A stack without a fiber yet, between pages that nobody may touch.
struct Stack {
  static constexpr size_t kBytes = 64 << 10;
  char* low = nullptr;
  bool holds(const void* p) const {
    return low != nullptr && static_cast<size_t>(static_cast<const char*>(p) - low) < kBytes;
  }
};

// The stack last given back is the first to be taken again: it is in the cache.
Stack take_stack();
void give_back(Stack stack);

class Fiber {
 public:
  // Prepares a call of start, which must never return, on the stack.
  void prepare(Stack stack, void (*start)());
  // Leaves `from` where it stands and goes on with `to`.
  static void change(Fiber& from, Fiber& to);

 private:
#ifdef __x86_64__
  void* top_ = nullptr;  // of the stack, where the callee-saved registers lie
#else
  ucontext_t context_;
#endif
};

}  // namespace emulator
