#pragma once

#include <span>

namespace diffllama {

/// Pearson's correlation of as many values; NaN where one side does not vary.
double pearson(std::span<const double> a, std::span<const double> b);
/// Spearman's: that of the ranks, equal values sharing the mean of theirs.
double spearman(std::span<const double> a, std::span<const double> b);

}  // namespace diffllama
