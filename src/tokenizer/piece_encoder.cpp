#include "tokenizer/piece_encoder.h"

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

#include "base/utf8.h"
#include "tokenizer/byte_level.h"

namespace diffllama {

const std::vector<PieceToken>& PieceMemory::tokens(std::string_view piece, bool byte_level) {
  if (byte_level != byte_level_) {
    slots_.clear();
    byte_level_ = byte_level;
  }
  if (piece.size() > kRememberedBytes) {
    run_model(piece, tokens_);
    return tokens_;
  }
  if (slots_.empty()) {
    bytes_ += piece.size();
    if (bytes_ < kShortText) {
      run_model(piece, tokens_);
      return tokens_;
    }
    slots_.resize(kSlots);
  }
  // Each piece has one slot, so that no text can make look-ups slow.
  Slot& slot = slots_[std::hash<std::string_view>()(piece) % kSlots];
  if (slot.piece != piece) {
    slot.piece.clear();  // a model that throws leaves none
    run_model(piece, slot.tokens);
    slot.piece = piece;
  }
  return slot.tokens;
}

void PieceMemory::run_model(std::string_view piece, std::vector<PieceToken>& tokens) {
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

std::unique_ptr<PieceMemory> PieceMemories::take(const TokenizerModel& model) {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<PieceMemory> memory = std::move(idle_.back());
      idle_.pop_back();
      return memory;
    }
  }
  return std::make_unique<PieceMemory>(model);
}

void PieceMemories::give_back(std::unique_ptr<PieceMemory> memory) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(memory));
}

PieceEncoder::PieceEncoder(const TokenizerModel& model, const AddedVocabulary& added_tokens,
                           const SourceText& source, const PreTokenizedText& text,
                           PieceMemories& memories)
    : model_(model),
      added_tokens_(added_tokens),
      source_(source),
      text_(text.unmapped_text()),
      spelled_unknown_(model.unknown_keeps_text() ? model.unk_id() : std::nullopt),
      byte_level_(text.mapping_is_pending()),
      memories_(memories),
      memory_(memories.take(model)) {}

PieceEncoder::~PieceEncoder() {
  try {
    memories_.give_back(std::move(memory_));
  } catch (const std::bad_alloc&) {  // then the next text starts with an empty one
  }
}

void PieceEncoder::encode(const Segment& segment, std::vector<EncodedToken>& tokens) {
  const std::size_t before = tokens.size();
  append_tokens(segment, tokens);
  if (source_.all_trusted()) return;
  const auto is_forbidden = [&](const EncodedToken& token) { return this->is_forbidden(token); };
  if (std::any_of(tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end(),
                  is_forbidden)) {
    tokens.resize(before);
    encode_apart(segment, tokens);
  }
}

// Parts of a piece that do not depend on each other are pieces of their own: words where the
// pre-tokenizer leaves a text whole.
void PieceEncoder::append_tokens(const Segment& segment, std::vector<EncodedToken>& tokens) {
  for (Segment rest = segment; rest.begin < rest.end;) {
    const std::string_view piece = text_.view(rest.begin, rest.end);
    const std::size_t size = byte_level_ ? piece.size() : model_.independent_prefix(piece);
    const Segment part{rest.begin, rest.begin + static_cast<std::uint32_t>(size), Segment::kNoId};
    append(part, memory_->tokens(piece.substr(0, size), byte_level_), tokens);
    rest.begin = part.end;
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
    if (token.id == spelled_unknown_) {
      encoded.spaces = spaces_of(text_.view(segment.begin + begin, segment.begin + end));
    }
    tokens.push_back(encoded);
  }
}

// Of bytes that are to be mapped to the byte-level alphabet a space alone becomes one there.
OuterSpaces PieceEncoder::spaces_of(std::string_view text) const {
  if (!byte_level_) return outer_spaces(text);
  const std::size_t first = std::min(text.find_first_not_of(' '), text.size());
  const std::size_t behind = text.find_last_not_of(' ') + 1;  // npos + 1 is 0
  return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(text.size() - behind)};
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

}  // namespace diffllama
