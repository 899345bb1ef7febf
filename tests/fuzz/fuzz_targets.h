#pragma once

#include <cstddef>
#include <span>

namespace diffllama::fuzz {

/// A parser as the fuzzers call it: any bytes end in a result or a diffllama::Error, which it
/// catches. Anything else, another exception, a sanitizer's report, a hang, is a bug.
struct Target {
  const char* name;  // of its folder in tests/fuzz/corpus, and of its program fuzz_NAME
  void (*run)(std::span<const std::byte> bytes);
};

/// All of them.
std::span<const Target> targets();

}  // namespace diffllama::fuzz
