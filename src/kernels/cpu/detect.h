#pragma once

#include <vector>

#include "kernels/isa.h"

namespace diffllama {

/// Asks the processor and its kernel; weakest first, portable always.
std::vector<Isa> detect_isas();

}  // namespace diffllama
