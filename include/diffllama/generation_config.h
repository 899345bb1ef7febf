#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace diffllama {

/// Options of generation, named as transformers' GenerationConfig; a generation_config.json beside
/// the model gives defaults.
struct GenerationConfig {
  std::int64_t max_new_tokens = 128;
  /// Prompt and new tokens together; where set it bounds a sequence in place of max_new_tokens. A
  /// caller who sets max_new_tokens over a file's defaults resets it.
  std::optional<std::int64_t> max_length;
  std::int64_t min_new_tokens = 0;
  /// As max_length: where set, in place of min_new_tokens.
  std::optional<std::int64_t> min_length;
  bool do_sample = false;                 // false: greedy, whatever the next four say
  double temperature = 1.0;               // >= 0; 0: greedy
  std::int64_t top_k = 50;                // 0 or -1: off
  double top_p = 1.0;                     // 0 to 1; 1: off, 0: the most likely token alone
  double min_p = 0.0;                     // 0 to 1; 0: off
  double repetition_penalty = 1.0;        // > 0; 1: off
  std::int64_t no_repeat_ngram_size = 0;  // 0: off
  std::int64_t num_return_sequences = 1;  // more than 1 needs do_sample
  std::uint64_t seed = 0;
  std::vector<std::int64_t> eos_token_ids;  // empty: the model's
  std::optional<std::int64_t> pad_token_id;
  std::vector<std::string> stop_strings;
  bool ignore_eos = false;
};

}  // namespace diffllama
