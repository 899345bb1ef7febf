#pragma once

#include <cstdint>
#include <filesystem>

#include "checkpoint/conversion/convert.h"
#include "diffllama/config.h"

namespace diffllama {

/// What a model is made into; dex is a Llama with DEX on every head of every layer.
enum class FamilyTarget { diffllama, diff_transformer, diff_transformer_v2, dex };

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
};

/// Writes a causal LM, a Hugging Face directory or a GGUF file, as another member of the family, a
/// directory that must be absent or empty (docs/variants.md "From one to another"):
///   Llama to diff_transformer_v2, dex   computes what the Llama computed, bit for bit in float32
///                                       without noise
///   Llama to diffllama                  computes something else, because of the per-head norm
///   diff_transformer to diffllama       computes the same to rounding, where heads, eps and biases
///   and back                            allow it
/// Tensors keep their type, block-quantised ones become options.expanded; an o_proj that subln's
/// weight is folded into is float32. `out` appears whole or not at all. Throws IoError,
/// FormatError; ConfigError naming the field for a model that cannot become the other;
/// InvalidArgument for an option that does not fit.
void convert_family(const std::filesystem::path& in, const std::filesystem::path& out,
                    const FamilyOptions& family, const ConvertOptions& options);

}  // namespace diffllama
