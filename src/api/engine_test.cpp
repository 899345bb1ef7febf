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

// A prompt's last row goes through the last layer alone, and has the bits of a forward of all rows.
TEST(Engine, TheLastRowAloneHasForwardsBits) {
  for (const char* name :
       {"diffllama_causal", "llama_causal", "llama_qk_norm", "llama_dex", "v1_causal", "v1_pairs",
        "v2_causal", "v2_three_key_heads", "motif_pairs", "motif_grouped"}) {
    SCOPED_TRACE(name);
    LoadOptions load;
    load.prefill_chunk = 13;
    const Model model = Model::from_pretrained(
        std::string(DIFFLLAMA_SOURCE_DIR "/tests/golden/forward/") + name, load);
    Engine engine(model, {.max_step_tokens = 40, .prefix_cache = false});
    std::vector<std::vector<float>> expected;
    for (const std::int64_t length : {17, 1, 33, 2}) {
      Request request;
      for (std::int64_t i = 0; i < length; ++i) {
        request.ids.push_back((length + 5 * i * i) % model.config().vocab_size);
      }
      request.config.max_new_tokens = 1;
      request.logits = true;
      ForwardInputs inputs;
      inputs.input_ids = Tensor::from(request.ids, {1, length});
      const ForwardOutput output = model.forward(inputs);
      const std::span<const float> logits = output.logits->f32();
      expected.emplace_back(logits.end() - model.config().vocab_size, logits.end());
      engine.add(std::move(request));
    }
    std::size_t seen = 0;
    while (engine.has_work()) {
      for (const NewToken& token : engine.step().tokens) {
        EXPECT_EQ(token.logits, expected.at(token.request - 1));
        ++seen;
      }
    }
    EXPECT_EQ(seen, expected.size());
  }
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
