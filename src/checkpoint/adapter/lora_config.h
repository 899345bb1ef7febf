#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "diffllama/config.h"

namespace diffllama {

/// LoRA of a model: y = x W^T + scaling (x A^T) B^T for the modules it targets, as PEFT's
/// adapter_config.json has it; defaults are PEFT's, but for target_modules, which PEFT takes from
/// the model's type (q_proj and v_proj for a Llama).
struct LoraConfig {
  std::int64_t rank = 8;  // "r": rows of A
  double alpha = 8;       // "lora_alpha"
  double dropout = 0;     // "lora_dropout": of x before A, in training
  bool rslora = false;    // "use_rslora": scaling is alpha / sqrt(r), not alpha / r
  /// Paths of modules, or their ends after a dot: "q_proj", "layers.0.mlp.up_proj".
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};
  /// "target_modules" where it is a string, in place of the list: "all-linear", or a regular
  /// expression that matches a module's whole path.
  std::string target_expression;
  std::vector<std::string> exclude_modules;  // taken out of the targets, matched like them
  std::string exclude_expression;            // "exclude_modules" where it is a string
  /// Ends of paths of modules that are trained and stored whole: "score", "embed_tokens".
  std::vector<std::string> modules_to_save;
  /// Ranks and alphas of some modules: regular expressions for a path or its end after a dot. The
  /// first that fits counts, in the order of the text, which is PEFT's in its files.
  std::map<std::string, std::int64_t> rank_pattern;
  std::map<std::string, double> alpha_pattern;
  std::string base_model_name_or_path;  // what the adapter was trained on; for people
};

/// Throws ConfigError "WHERE: FIELD: expected ..., got ..." unless ranks are 1 to 2^20, alphas
/// finite, dropout in [0, 1], and lists hold at most 10,000 names, patterns 1,000.
void validate(const LoraConfig& config, const std::string& where = "LoRA configuration");

/// Reads the text of an adapter_config.json and validates it. What changes the result and is not
/// supported (DoRA, biases, layers_to_transform, PiSSA, ...) is refused by name; unknown fields are
/// a warning. modules_to_save has the heads that PEFT adds for the file's task_type. Messages start
/// with `where`. Throws FormatError for text that is not JSON, ConfigError.
LoraConfig parse_lora_config(std::string_view json_text, const std::string& where,
                             const WarningHandler& warn = {});

/// The text of an adapter_config.json for a model of this class, which PEFT reads.
std::string write_lora_config(const LoraConfig& config, Architecture architecture);

/// `config` with the head that PEFT trains whole for models of this class in modules_to_save:
/// score, qa_outputs, nothing for causal LMs and base models.
LoraConfig with_trained_head(LoraConfig config, Architecture architecture);

}  // namespace diffllama
