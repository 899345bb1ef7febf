#include "diffllama/transfer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "api/model.h"
#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/checkpoint.h"
#include "config/model_config.h"
#include "config/warnings.h"
#include "diffllama/checkpoint.h"
#include "diffllama/error.h"
#include "model/parameters.h"
#include "training/starting_model.h"

namespace diffllama {
namespace {

// Of the layers everything must be there: only a head may be new.
void check_layers(const Parameters& stored, const std::string& stored_prefix,
                  const Parameters& taken, const std::string& prefix, const std::string& where) {
  const auto count = [](const Parameters& parameters) {
    return std::ranges::count_if(parameters,
                                 [](const auto& entry) { return !is_head_parameter(entry.first); });
  };
  for (const auto& [name, parameter] : stored) {
    if (is_head_parameter(name)) continue;
    const auto found = taken.find(prefix + name.substr(stored_prefix.size()));
    const std::string expected =
        found == taken.end() ? "no such tensor" : to_string(found->second.shape);
    const std::string got = to_string(parameter.shape);
    if (expected == got) continue;
    std::string message = where;
    message.append(": expected the layers of the config that was given; ").append(name);
    throw FormatError(message.append(": expected ").append(expected).append(", got ").append(got));
  }
  if (count(taken) != count(stored)) {
    throw FormatError(where + ": expected " + std::to_string(count(taken)) +
                      " tensors of layers, got " + std::to_string(count(stored)));
  }
}

Parameter float32_parameter(const Tensor& value) {
  const auto held = std::make_shared<const Tensor>(Tensor::from(value.view()));
  Parameter parameter;
  parameter.shape = held->shape();
  const auto width = static_cast<std::size_t>(parameter.columns());
  parameter.read_row = [held, width](std::int64_t row, std::span<float> out) {
    std::ranges::copy(held->f32().subspan(static_cast<std::size_t>(row) * width, width),
                      out.begin());
  };
  parameter.values = held->f32().data();
  return parameter;
}

}  // namespace

Model from_pretrained_as(const ModelConfig& config, const std::filesystem::path& path,
                         std::uint64_t seed, const LoadOptions& options) {
  validate(config);
  if (options.packed_copy) {
    throw InvalidArgument("[packed_copy] expected the model's own configuration, got another");
  }
  Checkpoint opened = Checkpoint::open(find_model(path), options.warn);
  if (!options.adapter.empty()) {
    opened.merge(LoraAdapter::open(options.adapter, opened.config(), options.warn));
  }
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  const Parameters stored = stored_parameters(checkpoint);
  const WarningHandler named = [&](const std::string& text) {
    emit_warning(options.warn, path.string() + ", as " + config.class_name() + ": " + text);
  };
  Parameters taken = fitted_parameters(checkpoint->config(), stored, config, seed, named);
  check_layers(stored, base_model_prefix(checkpoint->config().architecture), taken,
               base_model_prefix(config.architecture), path.string());
  return Model(std::make_unique<Model::Impl>(config, std::move(taken), options));
}

void set_parameters(Model& model, const std::map<std::string, Tensor>& values) {
  Model::Impl& impl = model.impl();
  for (const auto& [name, value] : values) {
    const auto found = impl.parameters.find(name);
    if (found == impl.parameters.end()) {
      throw InvalidArgument("[set_parameters] expected one of parameter_names(), got \"" + name +
                            "\"");
    }
    if (value.dtype() == DType::float32 && value.shape() == found->second.shape) continue;
    throw InvalidArgument("[set_parameters] " + name + ": expected float32 " +
                          to_string(found->second.shape) + ", got " +
                          std::string(dtype_name(value.dtype())) + " " + to_string(value.shape()));
  }
  for (const auto& [name, value] : values) impl.parameters.at(name) = float32_parameter(value);
  impl.options.compute = compute_type(impl.weights.product_type);
  impl.pack();
}

void set_config(Model& model, const ModelConfig& config) {
  validate(config);
  ModelConfig& own = model.impl().config;
  const bool labels_have_rows = own.architecture == Architecture::sequence_classification ||
                                own.architecture == Architecture::token_classification;
  if (labels_have_rows && own.num_labels() != config.num_labels()) {
    throw ConfigError("num_labels: expected " + std::to_string(own.num_labels()) +
                      ", as the model has, got " + std::to_string(config.num_labels()));
  }
  ModelConfig changed = own;
  changed.pad_token_id = config.pad_token_id;
  changed.bos_token_id = config.bos_token_id;
  changed.eos_token_ids = config.eos_token_ids;
  changed.problem_type = config.problem_type;
  changed.use_cache = config.use_cache;
  changed.labels = config.labels;
  changed.initializer_range = config.initializer_range;
  changed.lambda_std_dev = config.lambda_std_dev;
  changed.classifier_dropout = config.classifier_dropout;
  changed.hidden_dropout = config.hidden_dropout;
  changed.dtype = config.dtype;
  changed.source_json = config.source_json;
  if (changed.to_json() != config.to_json()) {
    throw ConfigError(
        "configuration: expected the layers and the head of the model, got those of another");
  }
  own = std::move(changed);
}

}  // namespace diffllama
