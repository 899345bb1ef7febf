#include "tokenizer/end_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace diffllama {
namespace {

using testing::UnorderedElementsAre;

std::vector<std::string_view> ends_among(const std::set<std::string_view>& tokens) {
  return known_end_tokens([&](std::string_view text) { return tokens.contains(text); });
}

TEST(EndTokens, AreKnownByTheirText) {
  EXPECT_THAT(ends_among({"a", "<|eot_id|>", "<|user|>", "</s>", "<|fim_pad|>"}),
              UnorderedElementsAre("<|eot_id|>", "</s>", "<|fim_pad|>"));
  EXPECT_TRUE(is_end_token("<|im_end|>"));
  EXPECT_FALSE(is_end_token("<|im_start|>"));
}

TEST(EndTokens, SomeMeanSomethingElseBesideOthers) {
  EXPECT_THAT(ends_among({"<|end|>"}), UnorderedElementsAre("<|end|>"));
  EXPECT_THAT(ends_among({"<|end|>", "<|return|>", "<|call|>"}),
              UnorderedElementsAre("<|return|>", "<|call|>"));
  EXPECT_THAT(ends_among({"<|end|>", "<|calls|>", "<|flush|>"}),
              UnorderedElementsAre("<|calls|>", "<|flush|>"));
  EXPECT_THAT(ends_among({"</s>", "<|tool_response>"}), UnorderedElementsAre("<|tool_response>"));
  EXPECT_THAT(ends_among({"</s>", "<|plamo:eos|>"}), UnorderedElementsAre());
}

}  // namespace
}  // namespace diffllama
