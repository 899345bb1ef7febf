#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace diffllama {

/// The splitting pattern (Oniguruma's syntax) that a value of tokenizer.ggml.pre stands for; empty
/// is GPT-2's. Nothing for a name that is not known.
std::optional<std::string_view> gguf_pre_pattern(std::string_view name);
/// The name for a pattern: gpt-2, llama-bpe or qwen2.
std::optional<std::string_view> gguf_pre_name(std::string_view pattern);
/// All that are known, "default, gpt-2, ...".
std::string gguf_pre_names();

}  // namespace diffllama
