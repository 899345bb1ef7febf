#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace diffllama {

/// Random numbers as a pure function of (seed, stream, index): Philox4x32-10 (Salmon et al., SC
/// 2011). Any part of a sequence can be drawn without the part before it, by any thread, with the
/// same result.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  /// The four 32-bit words of block `index`.
  std::array<std::uint32_t, 4> block(std::uint64_t index) const;
  /// Uniform in [0, 1), 53 bits, one a block.
  double uniform(std::uint64_t index) const;
  /// Standard normal (Box-Muller), one a block.
  double normal(std::uint64_t index) const;

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
};

/// The stream that a tensor's values are drawn from: a function of its name alone (FNV-1a), so that
/// they do not depend on which others a model has.
std::uint64_t random_stream(std::string_view name);

}  // namespace diffllama
