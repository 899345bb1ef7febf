#include "tokenizer/piece_encoder.h"

#include <algorithm>
#include <functional>

#include "tokenizer/byte_level.h"
#include "tokenizer/unicode.h"

namespace diffllama {

PieceEncoder::PieceEncoder(const TokenizerModel& model, const AddedVocabulary& added_tokens,
                           const SourceText& source, const PreTokenizedText& text)
    : model_(model),
      added_tokens_(added_tokens),
      source_(source),
      encoder_(model.make_encoder()),
      text_(text.unmapped_text()),
      byte_level_(text.mapping_is_pending()) {
  if (text_.size() > kCacheSlots) cache_.resize(kCacheSlots);
}

void PieceEncoder::encode(const Segment& segment, std::vector<EncodedToken>& tokens) {
  const std::size_t before = tokens.size();
  append(segment, model_tokens(text_.view(segment.begin, segment.end)), tokens);
  if (source_.all_trusted()) return;
  const auto is_forbidden = [&](const EncodedToken& token) { return this->is_forbidden(token); };
  if (std::any_of(tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end(),
                  is_forbidden)) {
    tokens.resize(before);
    encode_apart(segment, tokens);
  }
}

void PieceEncoder::append(const Segment& segment, const std::vector<PieceToken>& found,
                          std::vector<EncodedToken>& tokens) {
  for (const PieceToken& token : found) {
    // Only a prefix or suffix that fell back to bytes can reach past the piece.
    const std::uint32_t end = std::min<std::uint32_t>(token.end, segment.end - segment.begin);
    const std::uint32_t begin = std::min(token.begin, end - 1);
    EncodedToken encoded;
    encoded.id = static_cast<std::int32_t>(token.id);
    encoded.span = text_.source(segment.begin + begin, segment.begin + end);
    tokens.push_back(encoded);
  }
}

bool PieceEncoder::is_forbidden(const EncodedToken& token) const {
  return added_tokens_.is_control(token.id) &&
         model_.unk_id() != static_cast<std::uint32_t>(token.id) && !source_.is_trusted(token.span);
}

// Halves the segment until no part of it is such a token; a single character that is one is left
// out, or becomes the token of the unknown.
void PieceEncoder::encode_apart(const Segment& segment, std::vector<EncodedToken>& tokens) {
  std::uint32_t middle = segment.begin + (segment.end - segment.begin) / 2;
  const auto is_inside = [&](std::uint32_t at) {
    return (static_cast<unsigned char>(text_.text()[at]) & 0xC0U) == 0x80U;
  };
  while (middle > segment.begin && is_inside(middle)) --middle;
  if (middle == segment.begin) {
    middle += static_cast<std::uint32_t>(code_point_at(text_.text(), middle).length);
  }
  if (middle >= segment.end) {
    if (const auto unknown = model_.unk_id()) {
      append(segment, {{*unknown, 0, segment.end - segment.begin}}, tokens);
    }
    return;
  }
  encode({segment.begin, middle, Segment::kNoId}, tokens);
  encode({middle, segment.end, Segment::kNoId}, tokens);
}

// Places in the tokens are bytes of `piece`, before mapping.
const std::vector<PieceToken>& PieceEncoder::model_tokens(std::string_view piece) {
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

void PieceEncoder::run_model(std::string_view piece, std::vector<PieceToken>& tokens) {
  tokens.clear();
  if (!byte_level_) return encoder_->encode(piece, tokens);
  mapped_.clear();
  piece_byte_.clear();
  for (std::size_t at = 0; at < piece.size(); ++at) {
    const std::string_view character = byte_level_character(static_cast<unsigned char>(piece[at]));
    mapped_ += character;
    piece_byte_.insert(piece_byte_.end(), character.size(), static_cast<std::uint32_t>(at));
  }
  encoder_->encode(mapped_, tokens);
  const auto last = static_cast<std::uint32_t>(mapped_.size() - 1);
  for (PieceToken& token : tokens) {
    token.begin = piece_byte_[std::min(token.begin, last)];
    token.end = piece_byte_[std::min(token.end - 1, last)] + 1;
  }
}

}  // namespace diffllama
