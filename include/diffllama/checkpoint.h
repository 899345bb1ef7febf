#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/tensor.h"

namespace [[gnu::visibility("default")]] diffllama {

/// Where the model lies that a user means by `path`: a directory without a config.json stands for
/// the one sub-folder that has one (as trainers leave "checkpoint-500"). A path without such a
/// sub-folder is itself. Throws IoError where nothing is there, and one that names the sub-folders
/// where several have one.
std::filesystem::path find_model(const std::filesystem::path& path);

/// What is read of a model or of an adapter: the path itself, and of a directory the files that are
/// there of those which make one: config, tokenizer, weights, the shards that an index names.
std::vector<std::filesystem::path> model_files(const std::filesystem::path& model);

/// Bytes written so far, of all.
using WriteProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct ConvertOptions {
  /// float32, float16 or bfloat16: what block-quantised tensors become in a directory, and those
  /// that an adapter changes in a GGUF file too.
  DType expanded = DType::float32;
  /// A PEFT LoRA adapter to merge into the weights; empty: none.
  std::filesystem::path adapter = {};
  /// A directory to a GGUF file: where the tokenizer has more tokens than the embeddings have rows,
  /// these get a row for each, the mean of the others; without it such a model is refused.
  bool pad_vocab = false;
  /// A GGUF file whose tensors take more bytes becomes parts, OUT-00001-of-0000N.gguf and so on;
  /// 0: one file.
  std::uint64_t part_bytes = 0;
  WarningHandler warn = {};     // absent: stderr
  WriteProgress progress = {};  // may be empty
};

/// Converts a Hugging Face directory to a GGUF file (`out` ends in .gguf), or a GGUF file to a
/// directory, which must be absent or empty. Tensors keep their type and bits, with two exceptions:
/// vectors are float32 in GGUF, and go back to the type that they came from; block-quantised
/// tensors are expanded. A file made from a directory gives back its config.json,
/// generation_config.json and tokenizer files as they were, but for spellings that not every
/// version of transformers knows. With an adapter both may also be directories, or both files; what
/// it changes is computed in float32 and rounded to the type that it had. `out` appears whole or
/// not at all. Throws IoError, FormatError, ConfigError; InvalidArgument for paths that do not fit.
void convert_model(const std::filesystem::path& in, const std::filesystem::path& out,
                   const ConvertOptions& options = {});

/// What a model is made into; dex is a Llama with DEX on every head of every layer.
enum class FamilyTarget { diffllama, diff_transformer, diff_transformer_v2, dex };
/// All of them by name, as --to takes it.
const std::map<std::string, FamilyTarget>& family_targets();

/// How a Llama's heads become DiffLlama's pairs: mirror makes a pair of each head, with twice the
/// key heads; split_heads makes the second half of the heads the second maps of the first.
enum class PairedHeads { none, mirror, split_heads };

struct FamilyOptions {
  FamilyTarget to = FamilyTarget::diffllama;
  PairedHeads heads = PairedHeads::none;  // of a Llama to diffllama
  /// Standard deviation of normal numbers added to the second maps' rows of q_proj, so that equal
  /// maps can part; of dex_proj's values, where 0 means initializer_range.
  double noise = 0;
  std::uint64_t seed = 0;
  /// Called with the whole directory before it has its name; what it throws leaves nothing.
  std::function<void(const std::filesystem::path& finished)> prove = {};
};

/// Writes a causal LM, a Hugging Face directory or a GGUF file, as another member of the family, a
/// directory that must be absent or empty (docs/variants.md "From one to another"):
///   Llama to diff_transformer_v2, dex   computes what the Llama computed, bit for bit in float32
///                                       without noise
///   Llama to diffllama                  computes something else, because of the per-head norm
///   diff_transformer to diffllama       computes the same to rounding, where heads, eps and biases
///   and back                            allow it
/// Tensors keep their type, block-quantised ones become options.expanded; an o_proj that subln's
/// weight is folded into is float32, and with a warning one whose doubled values do not fit their
/// type. `out` appears whole or not at all. Throws IoError, FormatError, which for a value that
/// would become infinite names the tensor; ConfigError naming the field for a model that cannot
/// become the other; InvalidArgument for an option that does not fit.
void convert_family(const std::filesystem::path& in, const std::filesystem::path& out,
                    const FamilyOptions& family, const ConvertOptions& options = {});

struct QuantizeOptions {
  int threads = 0;              // 0: one per core; never changes a byte
  bool pad_vocab = false;       // as ConvertOptions has it
  WarningHandler warn = {};     // absent: stderr
  WriteProgress progress = {};  // may be empty
};

/// What quantize_model can make, named as llama.cpp names it: "F32", "Q8_0", "Q4_K_M", ...
std::vector<std::string> quantized_types();

/// Writes the model in `in`, a Hugging Face directory or a GGUF file, as a GGUF file of one of
/// quantized_types() (upper or lower case), each tensor in the type that llama.cpp's rules give it.
/// Tensors that have their type already are copied. `out` appears whole or not at all. Throws
/// IoError, FormatError, ConfigError; FormatError also for weights that are not finite or too large
/// for their type, naming the tensor; InvalidArgument for an unknown type and for an `out` that is
/// `in` or does not end in .gguf.
void quantize_model(const std::filesystem::path& in, const std::filesystem::path& out,
                    std::string_view type, const QuantizeOptions& options = {});

}  // namespace diffllama
