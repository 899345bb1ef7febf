#pragma once

#include <string>

#include "diffllama/config.h"

namespace diffllama {

/// Throws InvalidArgument "WHO expected a causal LM, got CLASS" for a model of another class;
/// `who` is what asks, "[bench]".
void require_causal_lm(const std::string& who, const ModelConfig& config);

}  // namespace diffllama
