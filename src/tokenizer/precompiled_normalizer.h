#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/json_fields.h"
#include "tokenizer/normalizer.h"

namespace diffllama {

/// "precompiled_charsmap" of a Precompiled normalizer, in base64: SentencePiece's table of what
/// short texts become. Throws FormatError.
std::unique_ptr<const Normalizer> make_precompiled_normalizer(const JsonField& charsmap);

/// The same from the bytes that a tokenizer.model holds; empty bytes change nothing. Throws
/// FormatError that starts with `where`.
std::unique_ptr<const Normalizer> make_precompiled_normalizer(std::string_view charsmap,
                                                              const std::string& where);

}  // namespace diffllama
