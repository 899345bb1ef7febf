#include "diffllama/generation.h"

#include <optional>

#include "api/model.h"
#include "engine/continue_prompts.h"

namespace diffllama {

std::vector<GeneratedSequence> generate(const Model& model,
                                        std::span<const std::vector<std::int64_t>> prompts,
                                        const GenerationConfig& config, const Tokenizer* tokenizer,
                                        const TokenCallback& on_token,
                                        const Model* assistant_model) {
  const Model::Impl& impl = model.impl();
  std::optional<ForwardModel> assistant;
  if (assistant_model != nullptr) assistant.emplace(assistant_model->impl().forward_model());
  return continue_prompts(impl.forward_model(), impl.parallel, prompts, config,
                          {.tokenizer = tokenizer,
                           .on_token = on_token,
                           .warn = impl.options.warn,
                           .assistant = assistant ? &*assistant : nullptr});
}

}  // namespace diffllama
