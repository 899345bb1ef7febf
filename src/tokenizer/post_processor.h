#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/aligned_text.h"
#include "tokenizer/json_fields.h"

namespace diffllama {

/// A token of an encoded text and the bytes there that it stands for. Those that a template adds
/// stand for bytes [0, 0).
struct EncodedToken {
  std::int32_t id = 0;
  bool added = false;      // matched as an added token
  bool special = false;    // put there by the post-processor
  std::int32_t word = -1;  // the pre-tokenizer's piece; -1: none
  Span span;
};

/// What post-processors know besides the tokens.
struct EncodedText {
  std::string_view text;
  /// A token of the model's vocabulary by its id.
  std::function<std::string_view(std::int32_t id)> token_of;
};

/// "post_processor" of tokenizer.json: adds special tokens and trims offsets.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void apply(const EncodedText& text, bool add_special_tokens,
                     std::vector<EncodedToken>& tokens) const = 0;
};

/// TemplateProcessing (of single texts), ByteLevel, Sequence. null gives nullptr; any other type is
/// a FormatError that names it. `id_limit` is one past the largest id of the vocabulary.
std::unique_ptr<const PostProcessor> make_post_processor(const JsonField& field,
                                                         std::int64_t id_limit);
/// Puts `before` before the tokens of the text and `after` after them.
std::unique_ptr<const PostProcessor> make_template_processor(std::vector<std::int32_t> before,
                                                             std::vector<std::int32_t> after);

}  // namespace diffllama
