#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "diffllama/tokenizer.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/post_processor.h"

namespace diffllama {

/// "truncation" of tokenizer.json. Its stride matters only to the parts that are cut off, which are
/// not kept here.
struct Truncation {
  enum class Strategy { longest_first, only_first, only_second };
  std::size_t max_length = 0;  // in tokens, special tokens among them
  Strategy strategy = Strategy::longest_first;
  bool from_left = false;  // cuts the first tokens off
};

/// "padding" of tokenizer.json.
struct Padding {
  std::optional<std::size_t> length;  // absent: that of the longest encoding of a batch
  std::size_t multiple_of = 0;        // 0 and 1: of any
  bool on_left = false;
  std::int64_t pad_id = 0;
  std::int64_t pad_type_id = 0;
};

/// null gives nothing; throws FormatError.
std::optional<Truncation> read_truncation(const JsonField& field);
std::optional<Padding> read_padding(const JsonField& field);

/// Cuts the one or two sequences so that they have `max_length` tokens with the `added` ones that
/// the post-processor will add. When these alone are more, nothing is cut, as in the tokenizers
/// library. Throws InvalidArgument where the strategy cannot do that.
void truncate(const Truncation& truncation, std::size_t added,
              std::vector<EncodedSequence>& sequences);

/// The length that encodings of which the longest has `longest` tokens are padded to.
std::size_t padded_length(const Padding& padding, std::size_t longest);
/// Adds pads, which attention_mask and special_tokens_mask show, up to `length`.
void pad(const Padding& padding, std::size_t length, Encoding& encoding);

}  // namespace diffllama
