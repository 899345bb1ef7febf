#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/aligned_text.h"
#include "tokenizer/json_fields.h"

namespace diffllama {

/// How many characters of blank a token's text begins and ends with.
struct OuterSpaces {
  std::uint32_t leading = 0;
  std::uint32_t trailing = 0;
};
/// Blanks are those of Unicode and Ġ, which stands for one in the byte-level alphabet.
OuterSpaces outer_spaces(std::string_view token);

/// A token of an encoded text and the bytes there that it stands for. Those that a post-processor
/// adds stand for bytes [0, 0).
struct EncodedToken {
  std::int32_t id = 0;
  std::int32_t type_id = 0;
  std::int32_t word = -1;     // the pre-tokenizer's piece; -1: none
  std::int8_t sequence = -1;  // 0: of the text, 1: of the one that makes a pair; -1: of neither
  bool added = false;         // matched as an added token
  bool special = false;       // put there by the post-processor
  Span span;
  std::optional<OuterSpaces> spaces;  // of a token whose text is not that of its id
};

/// The tokens of one text, or those that a template put between two.
struct EncodedSequence {
  std::string_view text;
  std::vector<EncodedToken> tokens;
};

/// A token of the model's vocabulary by its id.
using TokenOf = std::function<std::string_view(std::int32_t id)>;

/// "post_processor" of tokenizer.json: adds special tokens and trims offsets.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  /// `sequences` are one text, or the two of a pair, until a post-processor has put others around
  /// them; all are joined in the end. Throws FormatError where a template cannot take so many.
  virtual void apply(const TokenOf& token_of, bool add_special_tokens,
                     std::vector<EncodedSequence>& sequences) const = 0;
  /// The number of tokens that apply adds to one text, or to a pair.
  virtual std::size_t added_tokens(bool pair) const = 0;
};

/// TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence. null gives nullptr;
/// any other type is a FormatError that names it. `id_limit` is one past the largest id of the
/// vocabulary.
std::unique_ptr<const PostProcessor> make_post_processor(const JsonField& field,
                                                         std::int64_t id_limit);
/// Puts `before` before the tokens of a text and `after` after them, of both texts of a pair.
std::unique_ptr<const PostProcessor> make_template_processor(std::vector<std::int32_t> before,
                                                             std::vector<std::int32_t> after);

}  // namespace diffllama
