#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/source_text.h"
#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// Runs the model over the pieces of a text; remembers what short pieces gave.
class PieceEncoder {
 public:
  /// All must outlive it. `text` has been through the pre-tokenizer.
  PieceEncoder(const TokenizerModel& model, const AddedVocabulary& added_tokens,
               const SourceText& source, const PreTokenizedText& text);

  /// Appends the tokens of a segment that is not an added token itself. A control token that the
  /// model finds where the text is not trusted becomes the tokens of its parts.
  void encode(const Segment& segment, std::vector<EncodedToken>& tokens);

 private:
  static constexpr std::size_t kCacheSlots = 8192;
  static constexpr std::size_t kCachedBytes = 64;  // longer pieces seldom come again
  struct Slot {
    std::string_view piece;
    std::vector<PieceToken> tokens;
  };

  const std::vector<PieceToken>& model_tokens(std::string_view piece);
  void run_model(std::string_view piece, std::vector<PieceToken>& tokens);
  void append(const Segment& segment, const std::vector<PieceToken>& found,
              std::vector<EncodedToken>& tokens);
  bool is_forbidden(const EncodedToken& token) const;
  void encode_apart(const Segment& segment, std::vector<EncodedToken>& tokens);

  const TokenizerModel& model_;
  const AddedVocabulary& added_tokens_;
  const SourceText& source_;
  std::unique_ptr<TokenizerModel::Encoder> encoder_;
  const AlignedText& text_;
  bool byte_level_;
  std::vector<Slot> cache_;
  std::vector<PieceToken> tokens_;
  std::string mapped_;                     // a piece in the byte-level alphabet
  std::vector<std::uint32_t> piece_byte_;  // for each of its bytes, the byte of the piece
};

}  // namespace diffllama
