#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "checkpoint/tensor_source.h"
#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// Bytes written so far, of all.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct ConvertOptions {
  /// float32, float16 or bfloat16: what block-quantised tensors become in a directory, and those
  /// that an adapter changes in a GGUF file too.
  DType expanded = DType::float32;
  /// A PEFT LoRA adapter to merge into the weights; empty: none.
  std::filesystem::path adapter = {};
  /// A directory to a GGUF file: rows of the embeddings for a larger tokenizer (gguf_model.h).
  bool pad_vocab = false;
  /// A GGUF file in parts of at most this many bytes of tensors (GgufWriter::write); 0: one file.
  std::uint64_t part_bytes = 0;
  WarningHandler warn;
  WriteProgress progress;  // may be empty
};

/// Converts a Hugging Face directory to a GGUF file (`out` ends in .gguf), or a GGUF file to a
/// directory, which must be absent or empty. Tensors keep their type and bits, with two exceptions:
/// vectors are float32 in GGUF, and go back to the type that they came from; block-quantised
/// tensors are expanded. A file made from a directory gives back its config.json,
/// generation_config.json and tokenizer files as they were, but for spellings that not every
/// version of transformers knows (write_directory_texts). With an adapter both may also be
/// directories, or both files; what it changes is computed in float32 and rounded to the type that
/// it had. `out` appears whole or not at all.
/// Throws IoError, FormatError, ConfigError; InvalidArgument for paths that do not fit.
void convert_model(const std::filesystem::path& in, const std::filesystem::path& out,
                   const ConvertOptions& options);

/// Throws InvalidArgument where `out` is the model, the adapter (empty: none), or a file of either.
void refuse_overwriting_model(const std::filesystem::path& out, const std::filesystem::path& in,
                              const std::filesystem::path& adapter);

/// The same tensors, which tell `progress` as they are written.
std::vector<TensorSource> with_progress(std::vector<TensorSource> tensors,
                                        const WriteProgress& progress);

}  // namespace diffllama
