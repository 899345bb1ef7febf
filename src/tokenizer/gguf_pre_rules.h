#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace diffllama {

/// What a value of tokenizer.ggml.pre stands for, as llama.cpp has it.
struct GgufPreRule {
  /// Splitting patterns (Oniguruma's syntax), one after the other: each cuts the pieces that those
  /// before it left into its matches and what lies between them.
  std::span<const std::string_view> patterns;
  bool ignore_merges = false;  // a piece that is a token is that token
  bool adds_bos = false;       // where tokenizer.ggml.add_bos_token is absent
};

/// The rule of a name; empty is GPT-2's. Nothing for a name that is not known.
std::optional<GgufPreRule> gguf_pre_rule(std::string_view name);
/// The name for one pattern: gpt-2, llama-bpe, smaug-bpe (which is llama-bpe without
/// ignore_merges), qwen2, qwen35, tekken or gpt-4o.
std::optional<std::string_view> gguf_pre_name(std::string_view pattern, bool ignore_merges);
/// All that are known, "default, gpt-2, ...".
std::string gguf_pre_names();

}  // namespace diffllama
