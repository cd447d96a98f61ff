#include "memory.h"

const bool emulator::checked = EMULATOR_CHECKED;
