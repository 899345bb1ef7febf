#include "training/starting_model.h"

#include <memory>
#include <system_error>
#include <utility>

#include "base/regular_file.h"
#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/conversion/gguf_texts.h"
#include "checkpoint/directory_texts.h"
#include "checkpoint/gguf/gguf.h"
#include "config/json_fields.h"
#include "config/model_config.h"
#include "config/names.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "tokenizer/tokenizer_files.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGenerationConfig = "generation_config.json";

void copy_if_there(const fs::path& directory, const char* name,
                   std::map<std::string, std::string>& files) {
  std::error_code error;
  if (fs::is_regular_file(directory / name, error)) files[name] = read_file(directory / name);
}

// Those of a tokenizer in a .gguf file, as convert writes them.
std::map<std::string, std::string> gguf_files(const fs::path& path, const ModelConfig& config,
                                              const WarningHandler& warn) {
  return directory_files(read_gguf_texts(GgufFile(path), config, warn));
}

// The files of a tokenizer in a directory, beside its tokenizer.json, or in a .gguf file.
std::map<std::string, std::string> tokenizer_files(const fs::path& path, const ModelConfig& config,
                                                   const WarningHandler& warn) {
  std::error_code error;
  fs::path directory = path;
  if (!fs::is_directory(path, error)) {
    if (path.extension() == ".gguf") {
      std::map<std::string, std::string> files = gguf_files(path, config, warn);
      files.erase(kGenerationConfig);  // the model's own counts
      return files;
    }
    if (path.filename() != "tokenizer.json") {
      throw ConfigError(
          "model.tokenizer: expected a directory, a tokenizer.json or a .gguf file, got " +
          path.string());
    }
    directory = path.parent_path();
  }
  std::map<std::string, std::string> files;
  for (const TokenizerFile& file : kTokenizerFiles) copy_if_there(directory, file.name, files);
  for (const char* name : {"vocab.json", "merges.txt", "chat_template.jinja"}) {
    copy_if_there(directory, name, files);
  }
  const auto config_file = files.find("tokenizer_config.json");
  set_chat_templates(
      directory_chat_templates(directory, config_file == files.end() ? "" : config_file->second),
      files);
  if (const auto settings = files.find("tokenizer_config.json"); settings != files.end()) {
    settings->second = tokenizer_config_for_every_version(
        settings->second, (directory / "tokenizer_config.json").string());
  }
  return files;
}

ModelConfig new_config(const nlohmann::json& config, const WarningHandler& warn) {
  if (config.is_object()) return parse_model_config(config.dump(), "model.config", warn);
  fs::path path = config.get<std::string>();
  std::error_code error;
  if (fs::is_directory(path, error)) path /= "config.json";
  return parse_model_config(read_file(path), path.string(), warn);
}

bool is_base_model_name(const std::string& name, const ModelConfig& config) {
  return !is_head_parameter(name) && name.starts_with(base_model_prefix(config.architecture));
}

}  // namespace

Parameters fitted_parameters(const ModelConfig& config, const Parameters& stored,
                             const ModelConfig& target, std::uint64_t seed,
                             const WarningHandler& warn) {
  const std::string prefix = base_model_prefix(config.architecture);
  const std::size_t target_prefix = base_model_prefix(target.architecture).size();
  const Parameters fresh = initial_parameters(target, seed);
  Parameters parameters;
  std::string drawn;
  for (const auto& [name, initial] : fresh) {
    const std::string old_name =
        is_base_model_name(name, target) ? prefix + name.substr(target_prefix) : name;
    const auto found = stored.find(old_name);
    if (found != stored.end() && found->second.shape == initial.shape) {
      parameters[name] = found->second;
    } else {
      parameters[name] = initial;
      drawn += (drawn.empty() ? "" : ", ") + name;
    }
  }
  if (!drawn.empty()) emit_warning(warn, "new, drawn from the seed: " + drawn);
  return parameters;
}

ModelSource::ModelSource(const Recipe& recipe, const WarningHandler& warn)
    : recipe_(recipe), warn_(warn), architecture_(architecture_for(*recipe.data.kind)) {
  if (recipe.model.from.empty()) {
    config_ = new_config(recipe.model.config, warn);
  } else {
    checkpoint_ = std::make_shared<const Checkpoint>(Checkpoint::open(recipe.model.from, warn));
    config_ = checkpoint_->config();
  }
  if (const double dropout = attention_dropout(config_); dropout != 0) {
    throw ConfigError(
        "model: attention_dropout: expected 0 (attention dropout is not supported in "
        "training), got " +
        number_text(dropout));
  }
}

std::vector<std::string> ModelSource::labels() const {
  if (!recipe_.model.labels.empty()) return recipe_.model.labels;
  // A model that classifies already keeps its classes; a new one's config may name them.
  const bool names = config_.architecture == architecture_;
  return names && checkpoint_ != nullptr ? config_.labels : std::vector<std::string>();
}

StartingModel ModelSource::make(const std::vector<std::string>& labels,
                                std::optional<ProblemType> problem_type,
                                const WarningHandler& drawn) const {
  StartingModel model;
  model.config = config_;
  model.config.architecture = architecture_;
  if (!labels.empty()) model.config.labels = labels;
  if (architecture_ == Architecture::sequence_classification) {
    model.config.problem_type = problem_type;
  }
  model.config.dtype =
      recipe_.model.dtype ? recipe_.model.dtype : config_.dtype.value_or(DType::float32);
  validate(model.config, "model", warn_);
  const auto seed = static_cast<std::uint64_t>(recipe_.training.seed);
  if (checkpoint_ == nullptr) {
    model.parameters = initial_parameters(model.config, seed);
  } else {
    model.parameters =
        fitted_parameters(config_, stored_parameters(checkpoint_), model.config, seed, drawn);
    // A stored lm_head that differs from embeddings which the config ties: open() has untied them.
  }
  const fs::path from = recipe_.model.from;
  model.tokenizer = recipe_.model.tokenizer.empty() ? from : fs::path(recipe_.model.tokenizer);
  model.files = tokenizer_files(model.tokenizer, model.config, warn_);
  std::error_code error;
  if (fs::is_directory(from, error)) {
    copy_if_there(from, kGenerationConfig, model.files);
  } else if (checkpoint_ != nullptr) {
    std::map<std::string, std::string> files = gguf_files(from, model.config, warn_);
    if (const auto found = files.find(kGenerationConfig); found != files.end()) {
      model.files.insert(*found);
    }
  }
  return model;
}

}  // namespace diffllama
