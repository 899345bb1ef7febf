#include <utility>

#include "base/utf8.h"
#include "diffllama/tokenizer.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {
namespace {

// Takes from the front of `bytes` all that no later byte can change, as UTF-8.
std::string take_complete(std::string& bytes) {
  std::string text;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const Utf8Step step = utf8_step(std::string_view(bytes).substr(at));
    if (step.cut_short) break;
    text += step.valid ? std::string_view(bytes).substr(at, step.length) : kReplacement;
    at += step.length;
  }
  bytes.erase(0, at);
  return text;
}

}  // namespace

struct [[gnu::visibility("hidden")]] Tokenizer::Stream::State {
  // A text that keeps ending in U+FFFD is given out after so many tokens: a character has four.
  static constexpr std::size_t kMostHeld = 8;

  const Impl& parts;
  bool skip_special_tokens;
  bool byte_level;
  std::string bytes;  // byte level: not yet whole characters
  // Other decoders treat a text's first token in their own way, and bytes of one character
  // together: the tokens that were given out last are kept, and decoded with those that follow.
  std::vector<std::string> tokens;
  std::size_t given = 0;  // the number of those kept

  std::string push_token(std::string token) {
    if (byte_level) {
      bytes += byte_level_token_bytes(token);
      return take_complete(bytes);
    }
    tokens.push_back(std::move(token));
    if (tokens.size() - given < kMostHeld && decoded(tokens.size()).ends_with(kReplacement)) {
      return "";
    }
    return give();
  }

  std::string decoded(std::size_t count) const {
    return parts.decode({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count)});
  }

  // The text of the tokens that were not given out yet.
  std::string give() {
    const std::string before = decoded(given);
    std::string text = decoded(tokens.size());
    text.erase(0, std::min(before.size(), text.size()));
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(given));
    given = tokens.size();
    return text;
  }
};

Tokenizer::Stream::Stream(const Tokenizer& tokenizer, bool skip_special_tokens)
    : state_(new State{
          *tokenizer.impl_,
          skip_special_tokens,
          tokenizer.impl_->decoder != nullptr && tokenizer.impl_->decoder->is_byte_level(),
          {},
          {}}) {}
Tokenizer::Stream::~Stream() = default;
Tokenizer::Stream::Stream(Stream&&) noexcept = default;

std::string Tokenizer::Stream::push(std::int64_t id) {
  auto token = state_->parts.decoder_token(id, state_->skip_special_tokens);
  return token ? state_->push_token(std::move(*token)) : "";
}

std::string Tokenizer::Stream::finish() {
  if (state_->byte_level) return replace_invalid_utf8(std::exchange(state_->bytes, {}));
  return state_->give();
}

}  // namespace diffllama
