#include "config/causal_lm.h"

#include "config/names.h"
#include "diffllama/error.h"

namespace diffllama {

void require_causal_lm(const std::string& who, const ModelConfig& config) {
  if (config.architecture == Architecture::causal_lm) return;
  throw InvalidArgument(who + " expected a causal LM, got " +
                        architecture_name(config.model_type, config.architecture));
}

}  // namespace diffllama
