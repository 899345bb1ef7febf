#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz_targets.h"

namespace diffllama::fuzz {
namespace {

namespace fs = std::filesystem;

/// What the fuzzers start from and once found, through the same functions in every build.
class FuzzCorpus : public testing::TestWithParam<Target> {
 protected:
  static std::vector<std::string> files() {
    std::vector<std::string> contents;
    const fs::path folder = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/fuzz/corpus" / GetParam().name;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      std::ifstream file(entry.path(), std::ios::binary);
      contents.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return contents;
  }
  /// Of exactly that size on the heap, where the address sanitizer sees what is past the end.
  static void run(const std::string& text) {
    const std::vector<char> bytes(text.begin(), text.end());
    GetParam().run(std::as_bytes(std::span(bytes)));
  }
};

TEST_P(FuzzCorpus, EndsInAResultOrATypedError) {
  const std::vector<std::string> inputs = files();
  EXPECT_FALSE(inputs.empty());
  for (const std::string& input : inputs) EXPECT_NO_THROW(run(input));
  EXPECT_NO_THROW(run(""));
}

TEST_P(FuzzCorpus, SoDoCutAndDamagedFiles) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  for (const std::string& input : files()) {
    if (input.empty()) continue;
    for (int trial = 0; trial < 20; ++trial) {
      std::string damaged = input;
      if (trial % 2 == 0) damaged.resize(below(input.size()));
      for (std::size_t i = below(8); i > 0 && !damaged.empty(); --i) {
        // Half of them near the beginning, where headers are.
        const std::size_t reach =
            i % 2 == 0 ? std::min<std::size_t>(damaged.size(), 256) : damaged.size();
        damaged[below(reach)] = static_cast<char>(random());
      }
      EXPECT_NO_THROW(run(damaged));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, FuzzCorpus, testing::ValuesIn(targets().begin(), targets().end()),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace diffllama::fuzz
