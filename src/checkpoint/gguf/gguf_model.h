#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf/gguf_writer.h"

namespace diffllama {

/// A tensor as a GGUF file is to hold it, before its type is chosen: name, shape and order of rows
/// are the file's.
struct GgufTensor {
  std::string name;
  StoredTensor stored;
  /// Heads whose rotary pairs the file wants side by side while `stored` has them apart; 0: the
  /// rows are in order.
  std::int64_t rotary_heads = 0;
  /// Rows behind those that are stored, all of them `padding`; null: none.
  std::int64_t padding_rows = 0;
  std::shared_ptr<const std::vector<float>> padding = nullptr;

  /// With the padding.
  Shape shape() const;
  /// Row `row` of the file as float32; any thread may call it.
  void read_row(std::int64_t row, std::span<float> out) const;
  /// Its bytes as they are stored. Only for matrices, and rows that are stored.
  std::span<const std::byte> row_bytes(std::int64_t row) const;
};

/// All that a GGUF file holds: what `convert` writes as it is, and `quantize` in other types.
struct GgufModel {
  std::string where;  // the path that it came from, for messages
  ModelConfig config;
  GgufWriter metadata;
  std::vector<GgufTensor> tensors;
  std::vector<TensorSource> rotary;                // made from the config
  std::vector<std::shared_ptr<const void>> files;  // keeps the bytes valid
};

struct GgufModelOptions {
  std::filesystem::path adapter = {};  // PEFT's, to be merged into the weights; empty: none
  /// Gives the embeddings of a directory a row for every token of a larger tokenizer, the mean of
  /// the others (and lm_head too, where no token's score is then above all others); else such a
  /// tokenizer is refused.
  bool pad_vocab = false;
};

/// The model in a Hugging Face directory, or in a GGUF file with all of its keys and tensors.
/// Throws IoError, FormatError, ConfigError; FormatError also for classes other than causal LMs.
GgufModel open_gguf_model(const std::filesystem::path& path, const WarningHandler& warn,
                          const GgufModelOptions& options = {});

/// A tensor in its type: vectors as float32 (llama.cpp computes with no other), matrices as stored.
/// A block-quantised one that an adapter changed becomes `expanded`.
TensorSource unchanged_tensor(const GgufTensor& tensor, DType expanded = DType::float32);

/// The number that general.file_type gives a file whose matrices are mostly float32, float16 or
/// bfloat16.
std::uint32_t plain_file_type(DType dtype);

}  // namespace diffllama
