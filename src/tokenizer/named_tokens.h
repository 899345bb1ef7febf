#pragma once

#include "tokenizer/added_tokens.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/tokenizer_files.h"
#include "tokenizer/tokenizer_impl.h"

namespace diffllama {

/// Adds the tokens that the files beside a vocabulary name, as transformers does: first
/// `added_tokens_decoder` in the order of its numbers, or where the config has none
/// added_tokens.json, then bos_token to mask_token, then those in additional_special_tokens and
/// extra_special_tokens. The last two are special. A token that is known keeps its id; others get
/// the ids that the files state where `keep_ids`, as in transformers' slow tokenizers, or the next
/// that are free, in the order of those. Throws FormatError.
void add_named_tokens(const TokenizerFiles& files, bool keep_ids, Tokenizer::Impl& parts);

/// An added token from an object with its flags, whose defaults are Python's AddedToken's.
AddedToken read_added_token(const JsonField& field);

}  // namespace diffllama
