#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace diffllama {

/// Splits a JSON document in two: a tokenizer.json's "model.vocab" and "model.merges", which have
/// hundreds of thousands of elements and are read as streams, and the rest, in which they are null.
/// Text that is not JSON stays in the parts, whose parsers refuse it.
struct TokenizerJsonParts {
  std::string rest;
  std::optional<std::string_view> vocab, merges;
};
TokenizerJsonParts split_tokenizer_json(std::string_view text);

}  // namespace diffllama
