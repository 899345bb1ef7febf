#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diffllama/engine.h"

namespace diffllama {

/// log softmax(logits)[token], and the `top` likeliest tokens' (0 <= top <= V), the likeliest
/// first, of equal ones the lower id. Summed in double, ascending. `scratch` grows to V and is used
/// again.
TokenLogprobs token_logprobs(std::span<const float> logits, std::int64_t token, std::int64_t top,
                             std::vector<std::int64_t>& scratch);

}  // namespace diffllama
