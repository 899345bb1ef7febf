#include "diffllama/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const std::string kTiny = DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny";

TEST(Engine, ContinuesAsGenerateDoes) {
  const Model model = Model::from_pretrained(kTiny);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(kTiny);
  GenerationConfig config;
  config.max_new_tokens = 20;
  const std::vector<std::vector<std::int64_t>> prompts = {tokenizer.encode("To be, or").ids,
                                                          tokenizer.encode("My lord").ids};
  const auto expected = generate(model, prompts, config, &tokenizer);
  Engine engine(model, {.max_step_tokens = 3}, &tokenizer);
  for (const auto& ids : prompts) {
    Request request;
    request.ids = ids;
    request.config = config;
    engine.add(std::move(request));
  }
  Engine moved = std::move(engine);
  std::vector<std::string> texts(2);
  while (moved.has_work()) {
    const StepEvents& events = moved.step();
    for (const NewToken& token : events.tokens) texts.at(token.request - 1) += token.text;
  }
  EXPECT_EQ(texts[0], expected[0].text);
  EXPECT_EQ(texts[1], expected[1].text);
  EXPECT_EQ(moved.counters().new_tokens, 40);
  EXPECT_EQ(moved.counters().blocks_used, 0);
}

TEST(Engine, RefusesOptionsOutOfRange) {
  const Model model = Model::from_pretrained(kTiny);
  EXPECT_THAT([&] { Engine(model, {.memory_bytes = 1000}); },
              ThrowsMessage<InvalidArgument>(AllOf(
                  HasSubstr("memory_bytes: expected at least a block"), HasSubstr("got 1000"))));
  EXPECT_THAT(
      [&] { Engine(model, {.max_step_tokens = 0}); },
      ThrowsMessage<InvalidArgument>(HasSubstr("max_step_tokens: expected at least 1, got 0")));
  EXPECT_THAT(
      [&] { Engine(model, {.max_sequences = -1}); },
      ThrowsMessage<InvalidArgument>(HasSubstr("max_sequences: expected at least 1, got -1")));
}

}  // namespace
}  // namespace diffllama
