#include "diffllama/generation.h"

#include <optional>

#include "api/model.h"
#include "base/regular_file.h"
#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_end_tokens.h"
#include "config/generation_config.h"
#include "diffllama/checkpoint.h"
#include "engine/continue_prompts.h"

namespace diffllama {

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::eos:
      return "eos";
    case StopReason::length:
      return "length";
    case StopReason::stop_string:
      return "stop_string";
    case StopReason::cancelled:
      return "cancelled";
  }
  return "";
}

GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& model,
                                                   const WarningHandler& warn) {
  if (std::filesystem::is_regular_file(model)) {
    return read_gguf_generation_config(GgufFile(model), warn);
  }
  const std::filesystem::path file =
      (std::filesystem::exists(model) ? find_model(model) : model) / "generation_config.json";
  const std::string text = read_file_if_there(file);
  return text.empty() ? GenerationConfig() : parse_generation_config(text, file.string(), warn);
}

std::vector<GeneratedSequence> generate(
    const Model& model, std::span<const std::vector<std::int64_t>> prompts,
    const GenerationConfig& config, const Tokenizer* tokenizer, const TokenCallback& on_token,
    const Model* assistant_model, std::span<const std::vector<std::int64_t>> negative_prompts) {
  const Model::Impl& impl = model.impl();
  std::optional<ForwardModel> assistant;
  if (assistant_model != nullptr) assistant.emplace(assistant_model->impl().forward_model());
  return continue_prompts(impl.forward_model(), impl.parallel, prompts, config,
                          {.tokenizer = tokenizer,
                           .on_token = on_token,
                           .warn = impl.options.warn,
                           .assistant = assistant ? &*assistant : nullptr,
                           .negative_prompts = negative_prompts});
}

}  // namespace diffllama
