#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// Whether a file is a tiktoken vocabulary: lines of a token's bytes in base64, a blank and a rank.
bool is_tiktoken(std::string_view bytes);

/// The byte-level BPE model of one, as transformers converts it: ids are ranks, a token's merges
/// are all pairs of tokens that make it, and a whole piece that is a token is that token. Throws
/// FormatError that starts with `where`.
std::unique_ptr<const TokenizerModel> make_tiktoken_model(std::string_view bytes,
                                                          const std::string& where);

}  // namespace diffllama
