#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "diffllama/microscope.h"

namespace diffllama {

/// Of a map [T, T]; weights above the diagonal are not looked at.
MapMeasures measure_map(std::span<const float> map, std::int64_t tokens,
                        const std::optional<TokenSpan>& answer);

/// The mean, member by member. At least one.
AttentionMeasures mean_of(std::span<const AttentionMeasures> measures);

/// Of the magnitudes of `values`, which are reordered. NaN counts as the largest.
LargestValues largest_values(std::vector<float>& values);

}  // namespace diffllama
