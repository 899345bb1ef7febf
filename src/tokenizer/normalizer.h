#pragma once

#include <cstddef>
#include <memory>

#include "tokenizer/aligned_text.h"
#include "tokenizer/json_fields.h"

namespace diffllama {

/// "normalizer" of tokenizer.json: changes a piece of text before anything splits it.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `most`: the bytes that the result may have (expansion.h); throws InvalidArgument for more.
  virtual AlignedText apply(AlignedText text, std::size_t most) const = 0;
};

/// NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip, Prepend, Append, Replace,
/// Precompiled, BertNormalizer, ByteLevel, Sequence. null gives nullptr; any other type is a
/// FormatError that names it.
std::unique_ptr<const Normalizer> make_normalizer(const JsonField& field);

}  // namespace diffllama
