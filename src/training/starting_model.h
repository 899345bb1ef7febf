#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "diffllama/config.h"
#include "model/parameters.h"
#include "training/recipe.h"

namespace diffllama {

/// The model that a run starts from, and what is copied beside its weights.
struct StartingModel {
  ModelConfig config;  // with the head of the data
  Parameters parameters;
  std::filesystem::path tokenizer;           // for Tokenizer::from_pretrained
  std::map<std::string, std::string> files;  // tokenizer's and generation_config.json, by name
};

/// What the recipe's model is stored as, before its head is fitted to the data.
class ModelSource {
 public:
  /// Opens model.from or reads model.config. Throws IoError, FormatError, ConfigError.
  ModelSource(const Recipe& recipe, const WarningHandler& warn);

  const ModelConfig& config() const { return config_; }
  /// Class names that model.labels or a model with this head gives; else none, and the data
  /// decides.
  std::vector<std::string> labels() const;
  /// The model with the head of the data and these classes (classification alone). What the stored
  /// model lacks is drawn from training.seed, which `drawn` is told.
  StartingModel make(const std::vector<std::string>& labels,
                     std::optional<ProblemType> problem_type, const WarningHandler& drawn) const;

 private:
  const Recipe& recipe_;
  WarningHandler warn_;
  Architecture architecture_;  // that the data trains
  ModelConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // null for a new model
};

/// `stored` parameters of a model with `config`, for a model with `target`: the base model's by
/// their names without prefix, the head's where shapes agree; all others from `seed`, named in one
/// warning.
Parameters fitted_parameters(const ModelConfig& config, const Parameters& stored,
                             const ModelConfig& target, std::uint64_t seed,
                             const WarningHandler& warn);

}  // namespace diffllama
