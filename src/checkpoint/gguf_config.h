#pragma once

#include "checkpoint/gguf.h"
#include "diffllama/config.h"

namespace diffllama {

/// The model's configuration from the metadata of a GGUF file of architecture "llama" or
/// "diffllama": the keys of docs/model.md, and rope_freqs.weight and
/// rope_factors_{long,short}.weight. `diffllama.config`, a config.json, stands for all of them
/// where it is present. vocab_size is the number of embedding rows, and the embeddings are tied
/// where output.weight is absent. Throws FormatError and ConfigError; keys of the architecture that
/// are not read are one warning.
ModelConfig read_gguf_config(const GgufFile& file, const WarningHandler& warn = {});

}  // namespace diffllama
