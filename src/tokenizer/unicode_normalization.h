#pragma once

#include "tokenizer/aligned_text.h"

namespace diffllama {

enum class NormalizationForm { nfc, nfd, nfkc, nfkd };

/// Unicode normalization, with the alignment that the tokenizers library gives it: a composed
/// character stands for the first of those it was made of.
AlignedText normalize_unicode(AlignedText text, NormalizationForm form);

}  // namespace diffllama
