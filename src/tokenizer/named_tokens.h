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

/// The files that name tokens.
struct NamingFiles {
  NamingFile config;   // tokenizer_config.json
  NamingFile map;      // special_tokens_map.json
  NamingFile added{};  // added_tokens.json: ids by token
  /// Whether tokens have the ids that the files state, as in transformers' slow tokenizers; or the
  /// next that are free, in the order of those.
  bool keep_ids = false;
};

/// Adds the tokens that they name, as transformers does: first `added_tokens_decoder` in the order
/// of its numbers, or where the config has none added_tokens.json, then bos_token to mask_token,
/// then those in additional_special_tokens and extra_special_tokens. The last two are special. A
/// token that is known keeps its id. Throws FormatError.
void add_named_tokens(const NamingFiles& files, Tokenizer::Impl& parts);

/// An added token from an object with its flags, whose defaults are Python's AddedToken's.
AddedToken read_added_token(const JsonField& field);

}  // namespace diffllama
