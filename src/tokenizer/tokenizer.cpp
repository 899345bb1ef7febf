#include "diffllama/tokenizer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "diffllama/error.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/tokenizer_impl.h"
#include "tokenizer/unicode.h"

namespace diffllama {
namespace {

/// Where the bytes of a text with U+FFFD for what is not UTF-8 lie in the text it was made from.
class Sanitized {
 public:
  explicit Sanitized(std::string_view bytes) {
    text_.reserve(bytes.size());
    for (std::size_t at = 0; at < bytes.size();) {
      const Utf8Step step = utf8_step(bytes.substr(at));
      text_ += step.valid ? bytes.substr(at, step.length) : kReplacement;
      at += step.length;
      if (!step.valid && step.length != kReplacement.size()) shifts_.push_back({text_.size(), at});
    }
  }
  std::string take_text() { return std::move(text_); }
  /// The place in the bytes of a character boundary of the text.
  std::size_t original(std::size_t at) const {
    const auto after = std::upper_bound(shifts_.begin(), shifts_.end(), at,
                                        [](std::size_t a, const Shift& s) { return a < s.text; });
    if (after == shifts_.begin()) return at;
    const Shift& last = *(after - 1);
    return last.bytes + (at - last.text);
  }

 private:
  struct Shift {
    std::size_t text, bytes;  // the same place in both
  };
  std::string text_;
  std::vector<Shift> shifts_;
};

/// Runs the model over the pieces of a text; remembers what short pieces gave.
class PieceEncoder {
 public:
  PieceEncoder(const Bpe& bpe, const PreTokenizedText& text)
      : encoder_(bpe), text_(text.unmapped_text()), byte_level_(text.mapping_is_pending()) {
    if (text_.size() > kCacheSlots) cache_.resize(kCacheSlots);
  }

  void encode(const Segment& segment, std::vector<EncodedToken>& tokens) {
    const std::string_view piece = text_.view(segment.begin, segment.end);
    for (const BpeToken& token : bpe_tokens(piece)) {
      // Only a prefix or suffix that fell back to bytes can reach past the piece.
      const std::uint32_t end = std::min<std::uint32_t>(token.end, segment.end - segment.begin);
      const std::uint32_t begin = std::min(token.begin, end - 1);
      tokens.push_back({static_cast<std::int32_t>(token.id), false,
                        text_.source(segment.begin + begin, segment.begin + end)});
    }
  }

 private:
  static constexpr std::size_t kCacheSlots = 8192;
  static constexpr std::size_t kCachedBytes = 64;  // longer pieces seldom come again
  struct Slot {
    std::string_view piece;
    std::vector<BpeToken> tokens;
  };

  // Places in the tokens are bytes of `piece`, before mapping.
  const std::vector<BpeToken>& bpe_tokens(std::string_view piece) {
    if (cache_.empty() || piece.size() > kCachedBytes) {
      run_model(piece, tokens_);
      return tokens_;
    }
    // Each piece has one slot, so that no text can make look-ups slow.
    Slot& slot = cache_[std::hash<std::string_view>()(piece) % kCacheSlots];
    if (slot.piece != piece) {
      slot.piece = piece;
      run_model(piece, slot.tokens);
    }
    return slot.tokens;
  }

  void run_model(std::string_view piece, std::vector<BpeToken>& tokens) {
    tokens.clear();
    if (!byte_level_) return encoder_.encode(piece, tokens);
    mapped_.clear();
    piece_byte_.clear();
    for (std::size_t at = 0; at < piece.size(); ++at) {
      const std::string_view character =
          byte_level_character(static_cast<unsigned char>(piece[at]));
      mapped_ += character;
      piece_byte_.insert(piece_byte_.end(), character.size(), static_cast<std::uint32_t>(at));
    }
    encoder_.encode(mapped_, tokens);
    const auto last = static_cast<std::uint32_t>(mapped_.size() - 1);
    for (BpeToken& token : tokens) {
      token.begin = piece_byte_[std::min(token.begin, last)];
      token.end = piece_byte_[std::min(token.end - 1, last)] + 1;
    }
  }

  Bpe::Encoder encoder_;
  const AlignedText& text_;
  bool byte_level_;
  std::vector<Slot> cache_;
  std::vector<BpeToken> tokens_;
  std::string mapped_;                     // a piece in the byte-level alphabet
  std::vector<std::uint32_t> piece_byte_;  // for each of its bytes, the byte of the piece
};

// Normalizes each segment that is not a token by itself.
AlignedText normalize(const Normalizer& normalizer, const AlignedText& text,
                      std::vector<Segment>& segments) {
  AlignedText result;
  std::vector<Segment> kept;
  for (const Segment& segment : segments) {
    const auto begin = static_cast<std::uint32_t>(result.size());
    if (segment.id != Segment::kNoId) {
      result.append(text, segment.begin, segment.end);
    } else {
      const AlignedText part = normalizer.apply(text.slice(segment.begin, segment.end));
      if (part.size() > std::numeric_limits<std::uint32_t>::max() - result.size()) {
        throw InvalidArgument("expected a text of less than 4 GiB after normalization, got more");
      }
      result.append(part, 0, part.size());
    }
    const auto end = static_cast<std::uint32_t>(result.size());
    if (begin != end) kept.push_back({begin, end, segment.id});
  }
  segments = std::move(kept);
  return result;
}

std::vector<EncodedToken> encode_text(const Tokenizer::Impl& parts, const std::string& source) {
  AlignedText text(source);
  std::vector<Segment> segments;
  if (!text.empty()) segments.push_back({0, static_cast<std::uint32_t>(text.size())});
  segments = parts.added_tokens.split(text.text(), segments, /*normalized=*/false);
  if (parts.normalizer != nullptr) text = normalize(*parts.normalizer, text, segments);
  segments = parts.added_tokens.split(text.text(), segments, /*normalized=*/true);
  PreTokenizedText pieces(std::move(text), std::move(segments));
  if (parts.pre_tokenizer != nullptr) parts.pre_tokenizer->apply(pieces);

  std::vector<EncodedToken> tokens;
  PieceEncoder encoder(parts.model, pieces);
  for (const Segment& segment : pieces.segments()) {
    if (segment.id == Segment::kNoId) {
      encoder.encode(segment, tokens);
    } else {
      tokens.push_back(
          {segment.id, true, pieces.unmapped_text().source(segment.begin, segment.end)});
    }
  }
  return tokens;
}

}  // namespace

std::optional<std::string> Tokenizer::Impl::decoder_token(std::int64_t id,
                                                          bool skip_special_tokens) const {
  if (id < 0 || id >= id_limit()) {
    throw InvalidArgument("expected token ids from 0 to " + std::to_string(id_limit() - 1) +
                          ", got " + std::to_string(id));
  }
  std::string token;
  if (const std::string* added = added_tokens.decoded(id)) {
    token = *added;
  } else if (const auto known = model.vocabulary().token_of(id)) {
    token = *known;
  } else {
    return std::nullopt;
  }
  if (skip_special_tokens && added_tokens.is_special(token)) return std::nullopt;
  return token;
}

std::string Tokenizer::Impl::decode(std::vector<std::string> tokens) const {
  std::string text;
  if (decoder != nullptr) {
    for (const std::string& part : decoder->apply(std::move(tokens))) text += part;
  } else {
    for (std::size_t i = 0; i < tokens.size(); ++i) text += (i > 0 ? " " : "") + tokens[i];
  }
  // Tokens of a GGUF file may hold any bytes.
  return replace_invalid_utf8(text);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Encoding Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  // What is not UTF-8 may grow threefold.
  if (text.size() > std::numeric_limits<std::uint32_t>::max() / 3) {
    throw InvalidArgument("expected a text of at most 1431655765 bytes, got " +
                          std::to_string(text.size()));
  }
  Sanitized sanitized(text);
  const std::string valid = sanitized.take_text();
  std::vector<EncodedToken> tokens = encode_text(*impl_, valid);
  if (impl_->post_processor != nullptr) {
    const EncodedText encoded{valid, [this](std::int32_t id) {
                                return impl_->model.vocabulary().token_of(id).value_or("");
                              }};
    impl_->post_processor->apply(encoded, add_special_tokens, tokens);
  }
  Encoding encoding;
  encoding.ids.reserve(tokens.size());
  encoding.offsets.reserve(tokens.size());
  for (const EncodedToken& token : tokens) {
    encoding.ids.push_back(token.id);
    encoding.offsets.push_back(
        {sanitized.original(token.span.begin), sanitized.original(token.span.end)});
  }
  return encoding;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    if (auto token = impl_->decoder_token(id, skip_special_tokens)) {
      tokens.push_back(std::move(*token));
    }
  }
  return impl_->decode(std::move(tokens));
}

std::int64_t Tokenizer::vocab_size() const { return impl_->id_limit(); }

std::optional<std::int64_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto id = impl_->added_tokens.id_of(token)) return *id;
  if (const auto id = impl_->model.vocabulary().id_of(token)) return *id;
  return std::nullopt;
}

std::string Tokenizer::id_to_token(std::int64_t id) const {
  if (const std::string* added = impl_->added_tokens.content(id)) return *added;
  return std::string(impl_->model.vocabulary().token_of(id).value_or(""));
}

std::optional<std::int64_t> Tokenizer::bos_token_id() const { return impl_->bos_token_id; }
std::optional<std::int64_t> Tokenizer::eos_token_id() const { return impl_->eos_token_id; }

}  // namespace diffllama
