#pragma once

#include "checkpoint/gguf.h"
#include "tokenizer/gguf_vocabulary.h"

namespace diffllama {

/// The keys tokenizer.ggml.* of a GGUF file, for make_tokenizer (tokenizer/load_tokenizer.h), which
/// checks what they mean. A file without them, or whose model is "no_vocab", gives no tokens.
/// Throws FormatError for keys of other types, tokens over 65,536 bytes and more than 1,000,000 of
/// them.
GgufVocabulary read_gguf_vocabulary(const GgufFile& file);

}  // namespace diffllama
