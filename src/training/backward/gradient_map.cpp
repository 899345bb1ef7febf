#include "training/backward/gradient_map.h"

#include <algorithm>
#include <cstdint>

namespace diffllama {

void GradientMap::clear() {
  for (auto& [name, sum] : sums_) sum.begun = false;
}

void GradientMap::complete() {
  for (auto& [name, sum] : sums_) begin(sum);
}

float* GradientMap::find(const std::string& name) {
  const auto found = sums_.find(name);
  if (found == sums_.end()) return nullptr;
  begin(found->second);
  return found->second.values.data();
}

GradientMap::Target GradientMap::find_whole(const std::string& name) {
  const auto found = sums_.find(name);
  if (found == sums_.end()) return {};
  const bool begun = found->second.begun;
  found->second.begun = true;
  return {.sum = found->second.values.data(), .accumulate = begun};
}

void GradientMap::begin(Sum& sum) {
  if (sum.begun) return;
  sum.begun = true;
  constexpr std::int64_t kPerTask = std::int64_t{1} << 20;
  const auto size = static_cast<std::int64_t>(sum.values.size());
  parallel_.run((size + kPerTask - 1) / kPerTask, [&](std::int64_t task, int) {
    const std::int64_t first = task * kPerTask;
    std::fill_n(sum.values.data() + first, std::min(kPerTask, size - first), 0.0F);
  });
}

}  // namespace diffllama
