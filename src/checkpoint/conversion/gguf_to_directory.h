#pragma once

#include <filesystem>

#include "checkpoint/conversion/convert.h"

namespace diffllama {

/// The second half of convert_model: a GGUF file to a Hugging Face directory.
void write_gguf_as_directory(const std::filesystem::path& in, const std::filesystem::path& out,
                             const ConvertOptions& options);

}  // namespace diffllama
