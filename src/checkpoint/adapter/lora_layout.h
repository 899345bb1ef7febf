#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/adapter/lora_config.h"
#include "checkpoint/checkpoint.h"

namespace diffllama {

/// A linear layer that an adapter changes: W + scaling B A, with A [rank, in] and B [out, rank].
struct LoraTarget {
  std::string module;  // "model.layers.0.self_attn.q_proj"; its weight is module + ".weight"
  std::int64_t out = 0, in = 0, rank = 0;
  float scaling = 0;

  std::string weight_name() const { return module + ".weight"; }
  /// As PEFT names them after "base_model.model.".
  std::string a_name() const { return module + ".lora_A.weight"; }
  std::string b_name() const { return module + ".lora_B.weight"; }
};

/// What an adapter of a model consists of, in the order of tensor_specs.
struct LoraLayout {
  std::vector<LoraTarget> targets;
  std::vector<TensorSpec> saved;  // parameters that are stored whole: those of modules_to_save

  /// Every tensor of the adapter, as PEFT names it after "base_model.model.": A, then B of each
  /// target, then the saved parameters.
  std::vector<TensorSpec> tensors() const;
};

/// The modules of a model that PEFT would choose by `config`. Throws ConfigError that starts with
/// `where` when nothing is targeted, when something other than a linear layer is, or when a module
/// is both targeted and saved; FormatError for a regular expression that is none.
LoraLayout lora_layout(const LoraConfig& config, const ModelConfig& model,
                       const std::string& where = "LoRA configuration");

}  // namespace diffllama
