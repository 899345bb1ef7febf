#pragma once

#include "checkpoint/directory_texts.h"
#include "diffllama/config.h"

namespace diffllama {

class GgufFile;

/// The tokenizer's files and generation_config.json as a directory of this model would have them:
/// those that the file was made from, else made from its vocabulary. A vocabulary that
/// tokenizer.json cannot hold (SentencePiece) is a warning, and no file. `config.json` is left
/// empty. Throws FormatError.
DirectoryTexts read_gguf_texts(const GgufFile& file, const ModelConfig& config,
                               const WarningHandler& warn);

}  // namespace diffllama
