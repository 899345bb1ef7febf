#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace diffllama {

class GgufFile;
class LoraAdapter;
struct TensorFiles;

/// Rows of the last axis: 1 for a vector.
std::int64_t row_count(const Shape& shape);

/// A tensor as it lies in a mapped file, with transformers' shape (outermost first). A model's
/// weights are of a type that is_weight_dtype (row_codec.h) knows.
struct StoredTensor {
  TensorView view;
  std::string where;  // "PATH: tensor NAME", for messages; NAME as the file has it
  /// Heads whose rows the file stores with rotary pairs side by side (Llama GGUF q and k); 0: rows
  /// as transformers has them.
  std::int64_t interleaved_heads = 0;
  /// What a merged adapter adds to row `row` of transformers; empty: nothing. With it `view` and
  /// row_bytes still are what the file has.
  std::function<void(std::int64_t row, std::span<float> values)> add_row = {};

  /// Row `row` (of all axes but the last; a vector is one row) as float32, dequantised, rows put
  /// back in transformers' order, and what is added to it. `out` holds the row's elements. May be
  /// called from several threads.
  void read_row(std::int64_t row, std::span<float> out) const;
  /// Its bytes, as stored. Only for matrices.
  std::span<const std::byte> row_bytes(std::int64_t row) const;
};

/// A parameter that a model has: the one table of names.
struct TensorSpec {
  std::string name;       // transformers' name, with the architecture's prefix:
                          // model.layers.0.self_attn.q_proj.weight
  std::string gguf_name;  // blk.0.attn_q.weight; empty where GGUF has none
  Shape shape;
  bool required = true;  // false: lm_head.weight of a tied model
  /// Heads that the rotary embedding turns in these rows: H for q_proj, K for k_proj, else 0.
  std::int64_t rotary_heads = 0;
};

/// What stands before the names of the base model's parameters: "model." for most heads,
/// "transformer." for question answering, nothing for the base model itself.
std::string base_model_prefix(Architecture architecture);

/// Every parameter of a model with this config, in transformers' order. Throws ConfigError for
/// sizes whose products pass 2^63-1.
std::vector<TensorSpec> tensor_specs(const ModelConfig& config);

/// An opened model: a Hugging Face directory or a GGUF file, memory-mapped. Nothing is computed on
/// opening.
class Checkpoint {
 public:
  /// Throws IoError, FormatError, ConfigError. Missing and mis-shaped tensors are all named in one
  /// FormatError; tensors that the model does not use are named in one warning. As in transformers,
  /// names may lack the head's prefix, or have one that the base model lacks.
  static Checkpoint open(const std::filesystem::path& path, const WarningHandler& warn = {});

  /// The model in a GGUF file that is open already; one that lies in memory must outlive it.
  static Checkpoint from_gguf(const GgufFile& file, const WarningHandler& warn = {});

  /// Puts an adapter that was opened for config() into the model: its modules' rows get what LoRA
  /// adds, in float32, and its whole parameters take the place of the model's. An lm_head that is
  /// no longer the embeddings is not tied any more.
  void merge(std::shared_ptr<const LoraAdapter> adapter);

  /// As the files say, with one exception: where they are tied by the config but a different
  /// lm_head is stored, that one counts and tie_word_embeddings is false (as in transformers).
  const ModelConfig& config() const { return config_; }
  /// By the name in tensor_specs(config()); null when the file does not hold it.
  const StoredTensor* find(const std::string& name) const;
  /// Tells the system that a tensor's pages are not needed any more (after packing); they are read
  /// again if touched.
  static void release(const StoredTensor& tensor);

 private:
  Checkpoint(ModelConfig config, std::map<std::string, StoredTensor> tensors, TensorFiles files,
             const WarningHandler& warn);

  ModelConfig config_;
  std::map<std::string, StoredTensor> tensors_;
  std::vector<std::shared_ptr<const void>> files_;  // keeps the mappings alive
};

}  // namespace diffllama
