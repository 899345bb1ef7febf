#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "fuzz/fuzz_targets.h"

// DIFFLLAMA_FUZZ_TARGET names the target of this program.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const diffllama::fuzz::Target& target = *std::ranges::find(
      diffllama::fuzz::targets(), std::string_view(DIFFLLAMA_FUZZ_TARGET),
      [](const diffllama::fuzz::Target& each) { return std::string_view(each.name); });
  target.run(std::as_bytes(std::span(data, size)));
  return 0;
}
