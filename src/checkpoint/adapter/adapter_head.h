#pragma once

#include <filesystem>
#include <string>

#include "diffllama/config.h"

namespace diffllama {

/// The two files that PEFT writes.
inline constexpr const char* kAdapterConfigFile = "adapter_config.json";
inline constexpr const char* kAdapterWeightsFile = "adapter_model.safetensors";
/// The file beside an adapter that says what it was trained as: class, labels, and the model's own
/// configuration. save_lora_adapter writes it; PEFT leaves it alone.
inline constexpr const char* kAdapterModelConfig = "config.json";

/// Is it a parameter of a head: of lm_head, score or qa_outputs?
bool is_head_parameter(const std::string& name);

/// The configuration of a model with this adapter: that of `base`, with the head that the adapter
/// brings. Its class is that of task_type, else that of config.json beside the adapter, which names
/// the labels; without config.json their number is that of the head's rows. An adapter of the
/// base's own class changes its labels alone, one of a causal LM or a base model nothing. Throws
/// IoError, FormatError, ConfigError, the last also for an adapter of another type of model.
ModelConfig config_with_adapter(const std::filesystem::path& adapter, const ModelConfig& base,
                                const WarningHandler& warn = {});

}  // namespace diffllama
