#pragma once

#include <memory>

#include "tokenizer/json_fields.h"
#include "tokenizer/json_members.h"
#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// "model" of tokenizer.json: BPE, Unigram, WordLevel or WordPiece; without a type (old files) what
/// its fields say. `parts` has its vocab and merges. Throws FormatError, for dropout too, which
/// would make ids random.
std::unique_ptr<const TokenizerModel> make_model(const JsonField& field,
                                                 const TokenizerJsonParts& parts);

}  // namespace diffllama
