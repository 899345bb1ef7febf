#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace diffllama {

/// A token of a piece: bytes [begin, end) there.
struct PieceToken {
  std::uint32_t id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// "model" of tokenizer.json: turns the pieces that a text was cut into, into tokens. Immutable:
/// one object serves any number of threads. A new kind is a file that derives from this, and a line
/// in the readers that can name it.
class TokenizerModel {
 public:
  /// Tokenizes pieces one after another, with scratch memory of its own; one for each thread. The
  /// model must outlive it.
  class Encoder {
   public:
    Encoder() = default;
    virtual ~Encoder() = default;
    Encoder(const Encoder&) = delete;
    Encoder& operator=(const Encoder&) = delete;
    Encoder(Encoder&&) = delete;
    Encoder& operator=(Encoder&&) = delete;
    /// Appends the tokens of `piece` (UTF-8, not empty) to `tokens`, in order. Tokens of single
    /// bytes may each have the place of all that they make together. Throws FormatError for what
    /// the model has no token for and may not leave out.
    virtual void encode(std::string_view piece, std::vector<PieceToken>& tokens) = 0;
  };

  virtual ~TokenizerModel() = default;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::unique_ptr<Encoder> make_encoder() const = 0;
  /// How many bytes at the start of a piece (UTF-8, not empty) have the same tokens whatever
  /// follows them, as what follows has without them; at least 1.
  virtual std::size_t independent_prefix(std::string_view piece) const { return piece.size(); }
  /// The token that stands for what the vocabulary cannot say.
  virtual std::optional<std::uint32_t> unk_id() const { return std::nullopt; }
  /// Whether that token, among a text's, has the characters that it stands for as its text, and not
  /// what the vocabulary calls it.
  virtual bool unknown_keeps_text() const { return false; }
  /// What stands before each token of a word but the first; empty: nothing.
  virtual std::string_view continuing_subword_prefix() const { return {}; }
};

}  // namespace diffllama
