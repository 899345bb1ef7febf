#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace diffllama {

/// The keys tokenizer.ggml.* of a GGUF file, as the file has them. Strings may hold any bytes.
struct GgufVocabulary {
  std::string model;                     // only "gpt2", byte-level BPE, can be used
  std::string pre;                       // names the splitting rule; empty: absent
  std::vector<std::string> tokens;       // by id
  std::vector<std::int32_t> token_type;  // one for each token, or none
  std::vector<std::string> merges;       // "left right", by rank
  std::optional<std::int64_t> bos_token_id, eos_token_id, unknown_token_id, padding_token_id;
  bool add_bos_token = false;
  bool add_eos_token = false;
};

}  // namespace diffllama
