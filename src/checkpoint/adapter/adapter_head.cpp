#include "checkpoint/adapter/adapter_head.h"

#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/json.h"
#include "base/regular_file.h"
#include "checkpoint/safetensors/safetensors.h"
#include "config/json_fields.h"
#include "config/model_config.h"
#include "config/names.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// Has labels of its own: what a causal LM or a base model ends in belongs to the base.
bool is_head(Architecture architecture) {
  return architecture != Architecture::base_model && architecture != Architecture::causal_lm;
}

void check_model_type(const ModelConfig& adapter, const ModelConfig& base, const fs::path& path) {
  if (adapter.model_type == base.model_type) return;
  reject_field(path.string(), "model_type",
               "that of the model, " + std::string(model_type_name(base.model_type)),
               std::string(model_type_name(adapter.model_type)));
}

std::optional<Architecture> head_of_task(const fs::path& path) {
  const nlohmann::json object = parse_json(read_file(path), path.string());
  if (!object.is_object()) return std::nullopt;  // LoraAdapter::open says so
  const auto task = object.find("task_type");
  if (task == object.end()) return std::nullopt;
  if (*task == "SEQ_CLS") return Architecture::sequence_classification;
  if (*task == "TOKEN_CLS") return Architecture::token_classification;
  if (*task == "QUESTION_ANS") return Architecture::question_answering;
  return std::nullopt;
}

// The names that transformers gives to labels without any.
std::vector<std::string> numbered_labels(std::int64_t count) {
  std::vector<std::string> labels(static_cast<std::size_t>(count), "LABEL_");
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] += std::to_string(i);
  return labels;
}

// As many labels as the head has rows, without names.
void count_labels(const fs::path& adapter, ModelConfig& config) {
  if (config.architecture == Architecture::question_answering) return;
  if (!is_there(adapter / kAdapterWeightsFile)) return;  // LoraAdapter::open says so
  const SafetensorsFile file(adapter / kAdapterWeightsFile);
  const auto score = file.tensors().find("base_model.model.score.weight");
  if (score == file.tensors().end() || score->second.shape.size() != 2) return;
  config.labels = numbered_labels(score->second.shape[0]);
  config.token_classification_bias = file.tensors().contains("base_model.model.score.bias");
}

}  // namespace

bool is_head_parameter(const std::string& name) {
  return name.starts_with("lm_head.") || name.starts_with("score.") ||
         name.starts_with("qa_outputs.");
}

ModelConfig config_with_adapter(const fs::path& adapter, const ModelConfig& base,
                                const WarningHandler& warn) {
  if (!is_there(adapter / kAdapterConfigFile)) return base;  // LoraAdapter::open says so
  const auto task = head_of_task(adapter / kAdapterConfigFile);
  const fs::path path = adapter / kAdapterModelConfig;
  ModelConfig config = base;
  if (!is_there(path)) {
    if (!task || *task == base.architecture) return base;
    config.architecture = *task;
    count_labels(adapter, config);
    return config;
  }
  const ModelConfig trained = parse_model_config(read_file(path), path.string(), warn);
  check_model_type(trained, base, path);
  // What transformers writes may still name the class that the head was put on.
  config.architecture = task.value_or(trained.architecture);
  if (!is_head(config.architecture)) return base;
  config.labels = trained.labels;
  config.problem_type = trained.problem_type;
  config.pad_token_id = trained.pad_token_id;  // tells where a sequence ends
  config.classifier_dropout = trained.classifier_dropout;
  config.hidden_dropout = trained.hidden_dropout;
  config.token_classification_bias = trained.token_classification_bias;
  return config;
}

}  // namespace diffllama
