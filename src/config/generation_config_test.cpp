#include "config/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffllama/error.h"

namespace diffllama {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Parsed {
  GenerationConfig config;
  std::vector<std::string> warnings;
};

Parsed parse(const std::string& text) {
  Parsed parsed;
  parsed.config = parse_generation_config(
      text, "generation_config.json",
      [&](const std::string& message) { parsed.warnings.push_back(message); });
  return parsed;
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(GenerationConfigFile, DefaultsAndNulls) {
  for (const char* text :
       {"{}", R"({"max_new_tokens": null, "temperature": null, "top_k": null, "eos_token_id": null,
                  "stop_strings": null, "pad_token_id": null, "max_length": null})"}) {
    const GenerationConfig config = parse(text).config;
    EXPECT_EQ(config.max_new_tokens, 128);
    EXPECT_EQ(config.max_length, std::nullopt);
    EXPECT_EQ(config.min_new_tokens, 0);
    EXPECT_FALSE(config.do_sample);
    EXPECT_EQ(config.temperature, 1.0);
    EXPECT_EQ(config.top_k, 50);
    EXPECT_EQ(config.top_p, 1.0);
    EXPECT_THAT(config.eos_token_ids, IsEmpty());
    EXPECT_EQ(config.pad_token_id, std::nullopt);
    EXPECT_THAT(config.stop_strings, IsEmpty());
  }
}

TEST(GenerationConfigFile, ReadsEveryField) {
  const auto [config, warnings] = parse(R"({"max_new_tokens": 7, "min_new_tokens": 2,
    "do_sample": true, "temperature": 0.5, "top_k": 0, "top_p": 0.9, "min_p": 0.1,
    "repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "num_return_sequences": 2,
    "eos_token_id": [5, 6], "pad_token_id": 0, "stop_strings": ["a", "b"],
    "transformers_version": "5.23.0", "num_beams": 1, "typical_p": 1})");
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_EQ(config.max_new_tokens, 7);
  EXPECT_EQ(config.min_new_tokens, 2);
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.5);
  EXPECT_EQ(config.top_k, 0);
  EXPECT_EQ(config.top_p, 0.9);
  EXPECT_EQ(config.min_p, 0.1);
  EXPECT_EQ(config.repetition_penalty, 1.2);
  EXPECT_EQ(config.no_repeat_ngram_size, 3);
  EXPECT_EQ(config.num_return_sequences, 2);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(5, 6));
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_THAT(config.stop_strings, ElementsAre("a", "b"));
  EXPECT_THAT(parse(R"({"eos_token_id": 5, "stop_strings": "."})").config.stop_strings,
              ElementsAre("."));
}

TEST(GenerationConfigFile, ReadsTheShippedOne) {
  std::ifstream file(DIFFLLAMA_SOURCE_DIR "/models/diffllama-tiny/generation_config.json");
  const auto [config, warnings] = parse(std::string((std::istreambuf_iterator<char>(file)), {}));
  EXPECT_THAT(warnings, IsEmpty());
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config.pad_token_id, 0);
}

TEST(GenerationConfigFile, CountsOfNewTokensWinOverLengths) {
  const GenerationConfig lengths = parse(R"({"max_length": 40, "min_length": 3})").config;
  EXPECT_EQ(lengths.max_length, 40);
  EXPECT_EQ(lengths.min_length, 3);
  const GenerationConfig both = parse(R"({"max_length": 40, "max_new_tokens": 9, "min_length": 3,
                                          "min_new_tokens": 0})")
                                    .config;
  EXPECT_EQ(both.max_new_tokens, 9);
  EXPECT_EQ(both.max_length, std::nullopt);
  EXPECT_EQ(both.min_length, std::nullopt);
}

TEST(GenerationConfigFile, NamesWhatItDoesNotDoInOneWarning) {
  EXPECT_THAT(parse(R"({"dola_layers": "low", "zap": 1, "penalty_alpha": 0.6, "constraints": null,
                        "num_beam_groups": 1, "use_cache": false})")
                  .warnings,
              ElementsAre("generation_config.json: not supported and ignored: dola_layers: "
                          "\"low\", penalty_alpha: 0.6; unknown and ignored: \"zap\""));
  EXPECT_THAT(parse(R"({"penalty_alpha": 0, "encoder_repetition_penalty": 1.0})").warnings,
              IsEmpty());
}

TEST(GenerationConfigFile, MinusOneIsNoTopK) {
  EXPECT_EQ(parse(R"({"top_k": -1})").config.top_k, -1);
}

// The table's reader and writer say the same: what is written is read back, field by field.
TEST(GenerationConfigFile, WritesWhatItReads) {
  EXPECT_EQ(write_generation_config({}), "{}\n");
  const std::string text = R"({"max_new_tokens": 7, "do_sample": true, "temperature": 0.5,
    "top_k": 0, "eos_token_id": [5, 6], "pad_token_id": 3, "stop_strings": ["a"],
    "seed": 18446744073709551615, "ignore_eos": true, "top_h": 0.5, "typical_p": 0.25,
    "epsilon_cutoff": 0.125, "eta_cutoff": 0.5, "presence_penalty": -1.5, "frequency_penalty": 2.5,
    "sequence_bias": [[[1, 2], -0.5]], "logit_bias": [[3, 1.5], [4, false]],
    "bad_words_ids": [[1], [2, 3]], "forced_bos_token_id": 7, "forced_eos_token_id": [8],
    "exponential_decay_length_penalty": [10, 1.5], "suppress_tokens": [1],
    "begin_suppress_tokens": [2], "renormalize_logits": true,
    "watermarking_config": {"greenlist_ratio": 0.5, "bias": 1.5, "hashing_key": 3,
                            "seeding_scheme": "selfhash", "context_width": 2}})";
  const std::string written = write_generation_config(parse(text).config);
  EXPECT_EQ(nlohmann::json::parse(written), nlohmann::json::parse(text));
  EXPECT_EQ(write_generation_config(parse(written).config), written);
}

TEST(GenerationConfigFile, RefusesWithFieldValueAndWhatIsAllowed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"max_new_tokens": 0})",
       "max_new_tokens: expected an integer from 1 to 2147483647, got 0"},
      {R"({"max_new_tokens": 18446744073709551615})",
       "max_new_tokens: expected an integer from -2"},
      {R"({"max_new_tokens": 9223372036854775807})", "max_new_tokens: expected an integer from 1"},
      {R"({"max_new_tokens": "9"})", "max_new_tokens: expected an integer from -2^63 to 2^63-1"},
      {R"({"max_length": 0})", "max_length: expected an integer from 1 to 2147483647, got 0"},
      {R"({"min_new_tokens": -1})", "min_new_tokens: expected an integer from 0"},
      {R"({"min_length": -1})", "min_length: expected an integer from 0"},
      {R"({"do_sample": 1})", "do_sample: expected true or false, got 1"},
      {R"({"temperature": -0.5})", "temperature: expected a finite number >= 0, got -0.5"},
      {R"({"temperature": "hot"})", "temperature: expected a number, got \"hot\""},
      {R"({"top_k": -2})", "top_k: expected an integer from -1 to 2147483647, got -2"},
      {R"({"top_h": 0})", "top_h: expected a number above 0 and at most 1, got 0"},
      {R"({"typical_p": 1.5})", "typical_p: expected a number above 0 and at most 1, got 1.5"},
      {R"({"epsilon_cutoff": -1})", "epsilon_cutoff: expected a number from 0 to 1"},
      {R"({"bad_words_ids": [1]})", "bad_words_ids: expected a list of lists of token ids"},
      {R"({"bad_words_ids": [[]]})", "bad_words_ids: expected lists that are not empty"},
      {R"({"bad_words_ids": [[-1]]})", "bad_words_ids: expected an integer from 0"},
      {R"({"sequence_bias": {"1": 2}})", "sequence_bias: expected a list of [[id, ...], bias]"},
      {R"({"logit_bias": {"a": 2}})", "logit_bias: expected an object of token ids and biases"},
      {R"({"logit_bias": [[1]]})", "logit_bias: expected an object of token ids and biases"},
      {R"({"logit_bias": {"-1": 2}})", "logit_bias: expected an integer from 0"},
      {R"({"forced_eos_token_id": -3})", "forced_eos_token_id: expected an integer from 0"},
      {R"({"exponential_decay_length_penalty": [1]})",
       "exponential_decay_length_penalty: expected a list of a count of tokens and a factor"},
      {R"({"exponential_decay_length_penalty": [-1, 1.5]})",
       "exponential_decay_length_penalty: expected an integer from 0"},
      {R"({"watermarking_config": {"ngram_len": 5}})",
       "watermarking_config: ngram_len: expected a field of a green list's watermark, got 5"},
      {R"({"watermarking_config": {"seeding_scheme": "x"}})",
       "watermarking_config: seeding_scheme: expected lefthash or selfhash, got \"x\""},
      {R"({"watermarking_config": {"greenlist_ratio": 1}})",
       "watermarking_config.greenlist_ratio: expected a number above 0 and below 1, got 1"},
      {R"({"seed": -1})", "seed: expected an integer from 0 to 18446744073709551615, got -1"},
      {R"({"top_k": 1.5})", "top_k: expected an integer from -2^63 to 2^63-1, got 1.5"},
      {R"({"top_p": 1.5})", "top_p: expected a number from 0 to 1, got 1.5"},
      {R"({"top_p": -0.1})", "top_p: expected a number from 0 to 1, got -0.1"},
      {R"({"min_p": 1.1})", "min_p: expected a number from 0 to 1, got 1.1"},
      {R"({"repetition_penalty": 0})", "repetition_penalty: expected a finite number above 0"},
      {R"({"no_repeat_ngram_size": -1})", "no_repeat_ngram_size: expected an integer from 0"},
      {R"({"num_return_sequences": 0})", "num_return_sequences: expected an integer from 1"},
      {R"({"do_sample": true, "num_return_sequences": 2147483647})",
       "num_return_sequences: expected an integer from 1 to 65536, got 2147483647"},
      {R"({"early_stopping": 1})", "early_stopping: expected true, false or never, got 1"},
      {R"({"num_beams": 1025})", "num_beams: expected an integer from 1 to 1024, got 1025"},
      {R"({"num_beams": 2, "num_return_sequences": 3})",
       "num_return_sequences: expected at most num_beams 2, got 3"},
      {R"({"num_beams": 2, "guidance_scale": 2})", "guidance_scale: expected 1 with num_beams"},
      {R"({"forced_eos_token_id": [5, 6], "suppress_tokens": [6, 7, 5]})",
       "forced_eos_token_id: expected a token that suppress_tokens does not rule out, got [5,6]"},
      {R"({"forced_bos_token_id": 5, "suppress_tokens": [5]})",
       "forced_bos_token_id: expected a token that suppress_tokens does not rule out, got [5]"},
      {R"({"negative_prompt_ids": [-1]})", "negative_prompt_ids: expected an integer from 0"},
      {R"({"prompt_lookup_num_tokens": 0})",
       "prompt_lookup_num_tokens: expected an integer from 1"},
      {R"({"max_time": 0})", "max_time: expected a finite number above 0, got 0"},
      {R"({"num_return_sequences": 2})", "num_return_sequences: expected 1 without do_sample"},
      {R"({"eos_token_id": "x"})",
       "eos_token_id: expected an integer, a list of integers, or null"},
      {R"({"pad_token_id": 1.5})", "pad_token_id: expected an integer"},
      {R"({"stop_strings": [3]})", "stop_strings: expected a string or a list of strings, got [3]"},
      {R"({"stop_strings": [""]})", "stop_strings: expected strings that are not empty, got \"\""},
      {"[]", "expected a JSON object, got []"},
      {R"({"top_p": NaN})", "expected JSON"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(refusal(text), HasSubstr("generation_config.json: " + std::string(message)))
        << text;
  }
}

TEST(GenerationConfigFile, NaNIsAProblem) {
  GenerationConfig config;
  EXPECT_EQ(find_problem(config), "");
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (double GenerationConfig::*field :
       {&GenerationConfig::temperature, &GenerationConfig::top_p, &GenerationConfig::min_p,
        &GenerationConfig::repetition_penalty}) {
    config = {};
    config.*field = nan;
    EXPECT_THAT(find_problem(config), HasSubstr(", got nan"));
  }
}

}  // namespace
}  // namespace diffllama
