#pragma once

#include <functional>
#include <string_view>
#include <vector>

namespace diffllama {

/// Whether llama.cpp knows a token with this text as the end of a turn or of a text.
bool is_end_token(std::string_view text);

/// The texts of those that a vocabulary has. `has` tells whether there is a token with a text. What
/// means something else beside others that the vocabulary has is left out.
std::vector<std::string_view> known_end_tokens(const std::function<bool(std::string_view)>& has);

}  // namespace diffllama
