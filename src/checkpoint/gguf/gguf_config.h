#pragma once

#include <string>
#include <vector>

#include "checkpoint/gguf/gguf.h"
#include "checkpoint/gguf/gguf_writer.h"
#include "diffllama/config.h"

namespace diffllama {

/// The model's configuration from the metadata of a GGUF file of architecture "llama" or
/// "diffllama": the keys of docs/model.md, and rope_freqs.weight and
/// rope_factors_{long,short}.weight. `diffllama.config`, a config.json, stands for all of them
/// where it is present. vocab_size is the number of embedding rows, and the embeddings are tied
/// where output.weight is absent. Throws FormatError and ConfigError; keys of the architecture that
/// are not read are one warning.
ModelConfig read_gguf_config(const GgufFile& file, const WarningHandler& warn = {});

/// The other way round: general.architecture, the keys of the architecture, and the rotary tensors
/// of llama3 and longrope, which are returned. Throws FormatError that starts with `where` for what
/// a llama file has no key for: activations other than silu, dynamic rotary embeddings, yarn
/// without truncation. (A diffllama file needs diffllama.config for these.)
std::vector<TensorSource> write_gguf_config(const ModelConfig& config, const std::string& where,
                                            GgufWriter& out);

/// Where a file keeps what GGUF has no keys for: the files of a Hugging Face directory verbatim.
inline constexpr const char* kConfigKey = "diffllama.config";
inline constexpr const char* kGenerationConfigKey = "diffllama.generation_config";
/// "diffllama.source.float32" and so on: names of the tensors that came from that type.
inline constexpr const char* kSourceTypePrefix = "diffllama.source.";

}  // namespace diffllama
