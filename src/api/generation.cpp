#include "diffllama/generation.h"

#include "api/model.h"
#include "engine/continue_prompts.h"

namespace diffllama {

std::vector<GeneratedSequence> generate(const Model& model,
                                        std::span<const std::vector<std::int64_t>> prompts,
                                        const GenerationConfig& config, const Tokenizer* tokenizer,
                                        const TokenCallback& on_token) {
  const Model::Impl& impl = model.impl();
  return continue_prompts(
      impl.forward_model(), impl.parallel, prompts, config,
      {.tokenizer = tokenizer, .on_token = on_token, .warn = impl.options.warn});
}

}  // namespace diffllama
