#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/source_text.h"
#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// What runs a model over pieces and remembers what short ones gave, from text to text: most words
/// of a language are few. For one thread at a time.
class PieceMemory {
 public:
  /// The model must outlive it.
  explicit PieceMemory(const TokenizerModel& model) : encoder_(model.make_encoder()) {}

  /// The tokens of a piece (UTF-8, not empty), valid until the next call. Where it is to be mapped
  /// to the byte-level alphabet first, their places are still bytes of `piece` itself.
  const std::vector<PieceToken>& tokens(std::string_view piece, bool byte_level);

 private:
  static constexpr std::size_t kSlots = 16384;
  static constexpr std::size_t kShortText = 16384;     // bytes, for which no slots are made
  static constexpr std::size_t kRememberedBytes = 32;  // longer pieces seldom come again
  struct Slot {
    std::string piece;  // empty: none yet
    std::vector<PieceToken> tokens;
  };

  void run_model(std::string_view piece, std::vector<PieceToken>& tokens);

  std::unique_ptr<TokenizerModel::Encoder> encoder_;
  bool byte_level_ = false;  // of what is remembered
  std::size_t bytes_ = 0;    // of pieces so far, while there are no slots
  std::vector<Slot> slots_;
  std::vector<PieceToken> tokens_;
  std::string mapped_;                     // a piece in the byte-level alphabet
  std::vector<std::uint32_t> piece_byte_;  // for each of its bytes, the byte of the piece
};

/// The memories of a tokenizer, as many as threads used it at once. Serves any number of threads.
class PieceMemories {
 public:
  /// One that nobody else uses.
  std::unique_ptr<PieceMemory> take(const TokenizerModel& model);
  void give_back(std::unique_ptr<PieceMemory> memory);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<PieceMemory>> idle_;
};

/// Runs the model over the pieces of a text.
class PieceEncoder {
 public:
  /// All must outlive it. `text` has been through the pre-tokenizer.
  PieceEncoder(const TokenizerModel& model, const AddedVocabulary& added_tokens,
               const SourceText& source, const PreTokenizedText& text, PieceMemories& memories);
  ~PieceEncoder();
  PieceEncoder(const PieceEncoder&) = delete;
  PieceEncoder& operator=(const PieceEncoder&) = delete;
  PieceEncoder(PieceEncoder&&) = delete;
  PieceEncoder& operator=(PieceEncoder&&) = delete;

  /// Appends the tokens of a segment that is not an added token itself. A control token that the
  /// model finds where the text is not trusted becomes the tokens of its parts.
  void encode(const Segment& segment, std::vector<EncodedToken>& tokens);

 private:
  void append_tokens(const Segment& segment, std::vector<EncodedToken>& tokens);
  void append(const Segment& segment, const std::vector<PieceToken>& found,
              std::vector<EncodedToken>& tokens);
  OuterSpaces spaces_of(std::string_view text) const;
  bool is_forbidden(const EncodedToken& token) const;
  void encode_apart(const Segment& segment, std::vector<EncodedToken>& tokens);

  const TokenizerModel& model_;
  const AddedVocabulary& added_tokens_;
  const SourceText& source_;
  const AlignedText& text_;
  std::optional<std::uint32_t> spelled_unknown_;  // the unknown's id where it keeps its text
  bool byte_level_;
  PieceMemories& memories_;
  std::unique_ptr<PieceMemory> memory_;
};

}  // namespace diffllama
