#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/process.h"

namespace diffllama::cli_test {

using Arguments = std::vector<std::string>;

inline const std::filesystem::path kGoldens =
    std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/forward";
inline const std::string kTiny =
    std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "models/diffllama-tiny";
/// 2 layers, 56 tokens, no tokenizer.
inline const std::string kCausal = kGoldens / "diffllama_causal";
inline const std::filesystem::path kAdapters =
    std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/adapters";
inline const std::string kInputs =
    std::filesystem::path(DIFFLLAMA_SOURCE_DIR) / "tests/data/forward_inputs.safetensors";

MATCHER(IsOneErrorLine, "") {
  return arg.starts_with("error: ") && arg.ends_with('\n') &&
         std::count(arg.begin(), arg.end(), '\n') == 1;
}

/// The status, one line on standard error that fits `message`, nothing on standard output.
inline void expect_failure(const Result& result, int status,
                           const testing::Matcher<const std::string&>& message) {
  EXPECT_EQ(result.status, status);
  EXPECT_THAT(result.out, testing::IsEmpty());
  EXPECT_THAT(result.err, testing::AllOf(IsOneErrorLine(), message));
}

inline void expect_success(const Result& result) {
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, testing::Not(testing::HasSubstr("error")));
}

inline Arguments operator+(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

inline Arguments forward(const std::string& model, const std::string& outputs,
                         const std::string& inputs = kInputs) {
  return {"forward", "-m", model, "-t", "1", "--inputs", inputs, "--outputs", outputs};
}

}  // namespace diffllama::cli_test
