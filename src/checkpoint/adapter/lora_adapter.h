#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/adapter/lora_config.h"
#include "checkpoint/adapter/lora_layout.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/tensor_source.h"
#include "diffllama/tensor.h"

namespace diffllama {

/// What LoRA adds to one weight: scaling B A. Borrowed values.
struct LoraMatrices {
  std::int64_t out = 0, in = 0, rank = 0;
  std::span<const float> a;  // [rank, in]
  std::span<const float> b;  // [out, rank]
  float scaling = 0;

  /// Adds row `row` of scaling B A to `values` (`in` of them): the products summed in float32 by
  /// ascending rank, then scaled, then added. Any thread may call it.
  void add_row(std::int64_t row, std::span<float> values) const;
};

/// A LoRA adapter as PEFT saves it: adapter_config.json and adapter_model.safetensors. Const once
/// opened.
class LoraAdapter {
 public:
  /// Reads the adapter of a model with this config; the head that it brings takes the place of the
  /// model's (config_with_adapter). Throws IoError, FormatError, ConfigError;
  /// missing, mis-shaped and unexpected tensors are all named in one FormatError.
  static std::shared_ptr<const LoraAdapter> open(const std::filesystem::path& directory,
                                                 const ModelConfig& model,
                                                 const WarningHandler& warn = {});

  LoraAdapter(const LoraAdapter&) = delete;
  LoraAdapter& operator=(const LoraAdapter&) = delete;
  ~LoraAdapter() = default;

  const LoraConfig& config() const { return config_; }
  /// The model with the adapter in it.
  const ModelConfig& model() const { return model_; }
  const LoraLayout& layout() const { return layout_; }
  /// By the module's path, layout().targets each; valid while this lives.
  const std::map<std::string, LoraMatrices>& modules() const { return modules_; }
  /// Parameters that the file holds whole, by the model's names: layout().saved, and what PEFT
  /// stores beside them (embeddings). Valid while this lives.
  const std::map<std::string, StoredTensor>& saved() const { return saved_; }

 private:
  LoraAdapter() = default;
  friend class LoraAdapterReader;

  LoraConfig config_;
  ModelConfig model_;
  LoraLayout layout_;
  std::vector<Tensor> values_;
  std::map<std::string, LoraMatrices> modules_;
  std::map<std::string, StoredTensor> saved_;
  std::shared_ptr<const void> mapping_;
};

/// Writes a directory that PEFT and LoraAdapter::open read, made where it is absent: first
/// adapter_model.safetensors, then config.json, which tells of the model's class and labels
/// (config_with_adapter), then adapter_config.json, each atomically. `tensors` are those of
/// lora_layout(config, model).tensors(), by these names. `config` must have the head that PEFT adds
/// to modules_to_save (with_trained_head). Throws IoError; InvalidArgument for tensors that are not
/// these, ConfigError.
void save_lora_adapter(const std::filesystem::path& directory, const LoraConfig& config,
                       const ModelConfig& model, std::vector<TensorSource> tensors);

}  // namespace diffllama
