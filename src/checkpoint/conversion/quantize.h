#pragma once

#include <filesystem>

#include "base/parallel.h"
#include "checkpoint/conversion/convert.h"
#include "checkpoint/conversion/quantized_types.h"

namespace diffllama {

struct QuantizeOptions {
  Parallel parallel{1};    // never changes a byte
  bool pad_vocab = false;  // as ConvertOptions has it
  WarningHandler warn;
  WriteProgress progress;  // may be empty
};

/// Writes the model in `in`, a Hugging Face directory or a GGUF file, as a GGUF file whose matrices
/// have the types that TensorTypes gives them. Tensors that have their type already are copied.
/// `out` appears whole or not at all. Throws IoError, FormatError, ConfigError; FormatError also
/// for weights that are not finite or too large for their type, naming the tensor; InvalidArgument
/// for an `out` that is `in` or does not end in .gguf.
void quantize_model(const std::filesystem::path& in, const std::filesystem::path& out,
                    const QuantizedType& type, const QuantizeOptions& options);

}  // namespace diffllama
