#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <vector>

namespace emulator {

static std::vector<Stack>& free_stacks = *new std::vector<Stack>;

Stack take_stack() {
  constexpr size_t kGuard = 4096;
  if (free_stacks.empty()) {
    void* const memory = mmap(nullptr, Stack::kBytes + kGuard, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
      perror("emulator: no memory for the stack of a thread");
      abort();
    }
    free_stacks.push_back({static_cast<char*>(memory) + kGuard});
  }
  const Stack stack = free_stacks.back();
  free_stacks.pop_back();
  return stack;
}

void give_back(Stack stack) { free_stacks.push_back(stack); }

#ifdef __x86_64__

// Saves what a callee must keep (System V ABI) on the old stack and takes it from the new one. The
// rounding modes are the same for all fibers.
extern "C" void emulator_change_stack(void** save, void* next);
asm(R"(
.text
.type emulator_change_stack, @function
emulator_change_stack:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_change_stack, .-emulator_change_stack
)");

void Fiber::prepare(Stack stack, void (*start)()) {
  // Stacks that all began at one place of their pages would fight for a few lines of the cache.
  static unsigned color = 0;
  color = (color + 1) % 16;
  void** top = reinterpret_cast<void**>(stack.low + Stack::kBytes - 256 * color);
  *--top = nullptr;  // where start's caller would be; leaves the alignment that a call leaves
  *--top = reinterpret_cast<void*>(start);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  top_ = top;
}

void Fiber::change(Fiber& from, Fiber& to) { emulator_change_stack(&from.top_, to.top_); }

#else

void Fiber::prepare(Stack stack, void (*start)()) {
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack.low;
  context_.uc_stack.ss_size = Stack::kBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, start, 0);
}

void Fiber::change(Fiber& from, Fiber& to) { swapcontext(&from.context_, &to.context_); }

#endif

}  // namespace emulator
