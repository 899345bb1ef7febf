#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/gguf/gguf.h"
#include "diffllama/config.h"
#include "diffllama/generation_config.h"

namespace diffllama {

/// The tokens behind which a text of this file ends, as llama.cpp has them: eos_token_id,
/// eot_token_id and eom_token_id of tokenizer.ggml, and the tokens that are known by their text
/// ("<|im_end|>", ...). In a file that `convert` made of a directory, whose config.json names them,
/// the text tells nothing. Throws FormatError.
std::vector<std::int64_t> gguf_end_tokens(const GgufFile& file);

/// Adds those that are not in `ids` yet.
void add_end_tokens(const std::vector<std::int64_t>& more, std::vector<std::int64_t>& ids);

/// The generation defaults of a file that was made from a directory with a generation_config.json,
/// its end tokens included; of others, the defaults. Throws FormatError, ConfigError.
GenerationConfig read_gguf_generation_config(const GgufFile& file, const WarningHandler& warn);

}  // namespace diffllama
