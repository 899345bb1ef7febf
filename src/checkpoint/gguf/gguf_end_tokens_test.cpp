#include "checkpoint/gguf/gguf_end_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf_config.h"
#include "checkpoint/gguf/gguf_test_writer.h"
#include "diffllama/checkpoint.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;
using Ids = std::vector<std::int64_t>;
using Words = std::vector<std::string>;

Ids ends_of(const GgufTestWriter& file) {
  const std::string bytes = file.bytes();
  return gguf_end_tokens(GgufFile(std::as_bytes(std::span(bytes)), "m.gguf"));
}

TEST(GgufEndTokens, AreEosEotAndEom) {
  GgufTestWriter file;
  EXPECT_THAT(ends_of(file), IsEmpty());
  file.add("tokenizer.ggml.eot_token_id", 7U);
  EXPECT_THAT(ends_of(file), ElementsAre(7));
  file.add("tokenizer.ggml.eom_token_id", 9U);
  file.add("tokenizer.ggml.eos_token_id", 7U);
  EXPECT_THAT(ends_of(file), ElementsAre(7, 9));
}

TEST(GgufEndTokens, AreKnownByTheirText) {
  GgufTestWriter file;
  file.add("tokenizer.ggml.eos_token_id", 0U);
  file.add("tokenizer.ggml.tokens",
           Words{"x", "<|im_end|>", "<|end|>", "<|eot_id|>", "</s>", "<|fim_pad|>", "</t>"});
  EXPECT_THAT(ends_of(file), ElementsAre(0, 1, 2, 3, 4, 5));
  // The config.json of a file that was made from a directory names them.
  file.add(kConfigKey, "{}");
  EXPECT_THAT(ends_of(file), ElementsAre(0));
}

TEST(GgufEndTokens, SomeMeanSomethingElseBesideOthers) {
  GgufTestWriter harmony;
  harmony.add("tokenizer.ggml.tokens", Words{"<|end|>", "<|return|>", "<|call|>"});
  EXPECT_THAT(ends_of(harmony), ElementsAre(1, 2));
  GgufTestWriter gemma;
  gemma.add("tokenizer.ggml.tokens", Words{"</s>", "<|tool_response>", "<turn|>"});
  EXPECT_THAT(ends_of(gemma), ElementsAre(1, 2));
}

// Up to three of config.json or generation_config.json still end a text behind convert, quantize
// and the way back.
class EndTokensOf : public testing::TestWithParam<std::pair<const char*, Ids>> {
 protected:
  fs::path path(const std::string& name) const { return directory_.path() / name; }
  TestDirectory directory_;
};

TEST_P(EndTokensOf, ADirectoryStayThroughConversions) {
  const auto& [model, ends] = GetParam();
  const auto silent = [](const std::string&) {};
  for (const bool in_generation_config : {false, true}) {
    SCOPED_TRACE(in_generation_config);
    const fs::path from = path(in_generation_config ? "generation" : "config");
    fs::create_directory(from);
    const fs::path golden = fs::path(DIFFLLAMA_SOURCE_DIR) / "tests/golden/forward" / model;
    fs::copy(golden / "model.safetensors", from / "model.safetensors");
    json config = json::parse(read_whole_file(golden / "config.json"));
    config["eos_token_id"] = in_generation_config ? json(1) : json(ends);
    directory_.write(from.filename().string() + "/config.json", config.dump());
    if (in_generation_config) {
      directory_.write("generation/generation_config.json", json{{"eos_token_id", ends}}.dump());
    }
    const fs::path file = from.string() + ".gguf";
    const fs::path small = from.string() + "_f16.gguf";
    convert_model(from, file, {.warn = silent, .progress = {}});
    quantize_model(from, small, "F16", {.warn = silent, .progress = {}});
    for (const fs::path& made : {file, small}) {
      const GgufFile opened(made);
      EXPECT_EQ(gguf_end_tokens(opened), ends);
      const Ids read = in_generation_config
                           ? read_gguf_generation_config(opened, silent).eos_token_ids
                           : Checkpoint::from_gguf(opened, silent).config().eos_token_ids;
      EXPECT_EQ(read, ends);
    }
    // A file whose own keys are all that there is.
    if (!in_generation_config) {
      convert_model(file, from / "back", {.warn = silent, .progress = {}});
      EXPECT_EQ(Checkpoint::open(from / "back", silent).config().eos_token_ids, ends);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EndTokensOf,
                         testing::Values(std::pair{"llama_causal", Ids{2, 5, 9}},
                                         std::pair{"llama_causal", Ids{7}},
                                         std::pair{"diffllama_causal", Ids{2, 5}}));

}  // namespace
}  // namespace diffllama
