// Undefined behaviour of a kernel ends its launch: the handlers that -fsanitize=undefined calls.
// Each gets data that begin with the place in the source. (alignment and null are left to the
// checks of memory, which know more.)

#include "language.h"

namespace {

struct Data {
  const char* file;
  uint32_t line, column;
};

}  // namespace

#define HANDLER(name, what)                                                                    \
  extern "C" void __ubsan_handle_##name##_abort(const Data* d) {                               \
    emulator::fault("undefined behaviour: " what " at %s:%u:%u", d->file, d->line, d->column); \
  }
HANDLER(add_overflow, "an addition overflows")
HANDLER(sub_overflow, "a subtraction overflows")
HANDLER(mul_overflow, "a multiplication overflows")
HANDLER(negate_overflow, "a negation overflows")
HANDLER(divrem_overflow, "a division by zero, or one that overflows")
HANDLER(shift_out_of_bounds, "a shift by too many bits or of a negative number")
HANDLER(out_of_bounds, "an index behind the end of an array")
HANDLER(type_mismatch_v1, "an object too small for its type")
HANDLER(pointer_overflow, "a pointer overflows")
HANDLER(load_invalid_value, "a bool or enum with an impossible value")
HANDLER(nonnull_arg, "null where the callee forbids it")
HANDLER(invalid_builtin, "a bit count of zero")

#define LAST_HANDLER(name, what)                                                               \
  extern "C" void __ubsan_handle_##name(const Data* d) {                                       \
    emulator::fault("undefined behaviour: " what " at %s:%u:%u", d->file, d->line, d->column); \
  }
LAST_HANDLER(builtin_unreachable, "code that cannot be reached")
LAST_HANDLER(missing_return, "a function ends without a value")
