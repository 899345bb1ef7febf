#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace diffllama {

/// The bytes that base64 text (RFC 4648, padded) stands for; nothing for other text.
std::optional<std::string> decode_base64(std::string_view text);
/// Base64 text of bytes, padded.
std::string encode_base64(std::string_view bytes);

}  // namespace diffllama
