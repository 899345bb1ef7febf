#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "diffllama/tokenizer.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

// The byte of a token <0xXX>.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

}  // namespace

std::string Tokenizer::token_bytes(std::int64_t id, bool first) const {
  const std::optional<std::string> token = impl_->decoder_token(id, true);
  if (!token) return {};
  if (impl_->decoder != nullptr && impl_->decoder->is_byte_level()) {
    return byte_level_token_bytes(*token);
  }
  // A byte of a character that is not whole would be decoded to U+FFFD.
  if (const auto byte = fallback_byte(*token); byte && impl_->decode({"<0x41>"}) == "A") {
    return std::string(1, *byte);
  }
  if (first) return impl_->decode({*token});
  // What decoders do to the first token of a text is not done to the others.
  const std::string before = "a";
  const std::string text = impl_->decode({before, *token});
  return text.starts_with(before) ? text.substr(before.size()) : text;
}

}  // namespace diffllama
