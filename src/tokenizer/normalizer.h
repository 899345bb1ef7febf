#pragma once

#include <memory>

#include "tokenizer/aligned_text.h"
#include "tokenizer/json_fields.h"

namespace diffllama {

/// "normalizer" of tokenizer.json: changes a piece of text before anything splits it.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual AlignedText apply(AlignedText text) const = 0;
};

/// NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence. null gives nullptr; any
/// other type is a FormatError that names it.
std::unique_ptr<const Normalizer> make_normalizer(const JsonField& field);

}  // namespace diffllama
