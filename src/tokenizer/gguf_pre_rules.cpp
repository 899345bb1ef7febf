#include "tokenizer/gguf_pre_rules.h"

#include <array>

#include "tokenizer/byte_level.h"

namespace diffllama {
namespace {

// GPT-4's pattern with digits in groups of three (Llama 3) and alone (Qwen 2).
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreRule {
  std::string_view name, pattern;
};

// Values of tokenizer.ggml.pre that transformers splits by a pattern of their own, and those that
// it splits as GPT-2: SmolLM2's too, though llama.cpp sets each of its digits apart.
constexpr std::array<PreRule, 16> kPreRules = {{{"", kGpt2Pattern},
                                                {"default", kGpt2Pattern},
                                                {"gpt-2", kGpt2Pattern},
                                                {"smollm", kGpt2Pattern},
                                                {"llama-bpe", kLlama3Pattern},
                                                {"llama3", kLlama3Pattern},
                                                {"llama-v3", kLlama3Pattern},
                                                {"falcon3", kLlama3Pattern},
                                                {"falcon-h1", kLlama3Pattern},
                                                {"pixtral", kLlama3Pattern},
                                                {"lfm2", kLlama3Pattern},
                                                {"dbrx", kLlama3Pattern},
                                                {"smaug-bpe", kLlama3Pattern},
                                                {"qwen2", kQwen2Pattern},
                                                {"deepseek-r1-qwen", kQwen2Pattern},
                                                {"megrez", kQwen2Pattern}}};

}  // namespace

std::optional<std::string_view> gguf_pre_pattern(std::string_view name) {
  for (const PreRule& rule : kPreRules) {
    if (rule.name == name) return rule.pattern;
  }
  return std::nullopt;
}

std::optional<std::string_view> gguf_pre_name(std::string_view pattern) {
  for (const std::string_view name : {"gpt-2", "llama-bpe", "qwen2"}) {
    if (gguf_pre_pattern(name) == pattern) return name;
  }
  return std::nullopt;
}

std::string gguf_pre_names() {
  std::string names;
  for (const PreRule& rule : kPreRules) {
    if (!rule.name.empty()) names += (names.empty() ? "" : ", ") + std::string(rule.name);
  }
  return names;
}

}  // namespace diffllama
