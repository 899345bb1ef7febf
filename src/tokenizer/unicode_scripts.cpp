#include "tokenizer/unicode_scripts.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace diffllama {
namespace {

struct ScriptRange {
  std::uint32_t first, last;
  std::int32_t script;
};

constexpr auto kRanges = std::to_array<ScriptRange>({
#include "tokenizer/unicode_scripts_table.inc"
});

}  // namespace

int unicode_script(char32_t c) {
  const auto after = std::upper_bound(
      kRanges.begin(), kRanges.end(), std::uint32_t{c},
      [](std::uint32_t value, const ScriptRange& range) { return value < range.first; });
  if (after == kRanges.begin() || c > (after - 1)->last) return kNoScript;
  return (after - 1)->script;
}

}  // namespace diffllama
