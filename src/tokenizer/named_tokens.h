#pragma once

#include <string>
#include <string_view>

#include "tokenizer/added_tokens.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {

/// The text of a file beside tokenizer.json, empty where there is none.
struct NamingFile {
  std::string where;
  std::string_view text;
};

/// Adds the tokens that tokenizer_config.json and special_tokens_map.json name, as transformers
/// does: first `added_tokens_decoder` in the order of its numbers, then bos_token to mask_token,
/// then those in additional_special_tokens and extra_special_tokens. All but the first are special.
/// A token that is known keeps its id. Throws FormatError.
void add_named_tokens(const NamingFile& config, const NamingFile& map, Tokenizer::Impl& parts);

/// An added token from an object with its flags, whose defaults are Python's AddedToken's.
AddedToken read_added_token(const JsonField& field);

}  // namespace diffllama
