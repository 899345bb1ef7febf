#pragma once

#include <memory>

#include "tokenizer/json_fields.h"
#include "tokenizer/model_lists.h"
#include "tokenizer/tokenizer_model.h"

namespace diffllama {

/// "model" of tokenizer.json: BPE, Unigram, WordLevel or WordPiece; without a type (old files) what
/// its fields say. `lists` are its vocab and
/// merges, which it empties. Throws FormatError, for dropout too, which
/// would make ids random.
std::unique_ptr<const TokenizerModel> make_model(const JsonField& field, ModelLists& lists);

}  // namespace diffllama
