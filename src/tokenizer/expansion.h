#pragma once

#include <cstddef>
#include <string>

#include "diffllama/error.h"

namespace diffllama {

/// The most bytes that a tokenizer's rules may make of `bytes` of text: 32 for each, and 64 KiB.
/// Unicode's own rules make up to 11 of one; a file's Replace, Prepend and nested ByteLevel could
/// fill any memory from a single byte.
constexpr std::size_t expansion_limit(std::size_t bytes) {
  return 32 * bytes + (std::size_t{64} << 10);
}

/// Throws InvalidArgument where `bytes` is more than `most`.
inline void check_expansion(std::size_t bytes, std::size_t most) {
  if (bytes <= most) return;
  throw InvalidArgument(
      "expected a text that the tokenizer's rules make at most 32 times longer and 64 KiB (" +
      std::to_string(most) + " bytes), got one that they make longer");
}

}  // namespace diffllama
