#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace diffllama {

/// The model of a file whose tokenizer GGUF has no keys for.
inline constexpr const char* kNoVocabulary = "no_vocab";

/// The keys tokenizer.ggml.* of a GGUF file, as the file has them. Strings may hold any bytes.
struct GgufVocabulary {
  std::string model;  // "gpt2", byte-level BPE, or "llama", SentencePiece's BPE by scores
  std::string pre;    // names the splitting rule; empty: absent
  std::vector<std::string> tokens;       // by id
  std::vector<std::int32_t> token_type;  // one for each token, or none
  std::vector<std::string> merges;       // "left right", by rank; gpt2
  std::vector<float> scores;             // one for each token; llama
  std::optional<std::int64_t> bos_token_id, eos_token_id, unknown_token_id, padding_token_id;
  std::optional<std::int64_t> eot_token_id, eom_token_id;  // more that end a text
  std::optional<bool> add_bos_token;                       // absent: as `model` and `pre` have it
  bool add_eos_token = false;
  std::optional<bool> add_space_prefix;  // llama; absent: true
};

}  // namespace diffllama
