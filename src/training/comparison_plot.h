#pragma once

#include <string>

#include "training/comparison_result.h"

namespace diffllama {

/// An SVG of two panels: training loss by tokens of each member, and its difference to the first
/// member with the same seed, a band for its 95 % confidence interval.
std::string to_svg(const ComparisonResult& result);

}  // namespace diffllama
