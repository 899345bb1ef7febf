#include <algorithm>
#include <utility>

#include "checkpoint/tensor_files.h"
#include "checkpoint/tensor_problems.h"
#include "diffllama/error.h"

namespace diffllama {
namespace {

// Names that transformers tries for a parameter: its own, without the head's prefix (a base model
// loaded into a head), or with the prefix that the base model's heads have (the other way round).
std::vector<std::string> accepted_names(const TensorSpec& spec, Architecture architecture,
                                        TensorNaming naming) {
  if (naming == TensorNaming::gguf) return {spec.gguf_name};
  if (architecture == Architecture::base_model) {
    return {spec.name, base_model_prefix(Architecture::causal_lm) + spec.name};
  }
  const std::string prefix = base_model_prefix(architecture);
  if (spec.name.starts_with(prefix)) return {spec.name, spec.name.substr(prefix.size())};
  return {spec.name};
}

// A hostile layer count must not fill the memory with names of missing tensors.
void check_layer_count(const ModelConfig& config, const TensorFiles& files) {
  constexpr std::int64_t kListed = 1000;
  const auto stored = static_cast<std::int64_t>(files.tensors.size());
  if (config.num_hidden_layers > std::max(kListed, stored)) {
    throw FormatError(files.where + ": expected tensors for the config's " +
                      std::to_string(config.num_hidden_layers) + " layers, got " +
                      std::to_string(stored) + " tensors");
  }
}

}  // namespace

std::map<std::string, StoredTensor> take_model_tensors(const ModelConfig& config,
                                                       TensorNaming naming, TensorFiles& files) {
  check_layer_count(config, files);
  std::map<std::string, StoredTensor> taken;
  TensorProblems problems;
  for (const TensorSpec& spec : tensor_specs(config)) {
    auto found = files.tensors.end();
    for (const std::string& name : accepted_names(spec, config.architecture, naming)) {
      if (found == files.tensors.end()) found = files.tensors.find(name);
    }
    if (found == files.tensors.end()) {
      if (spec.required) problems.add_missing(spec);
      continue;
    }
    problems.check(spec, found->second.view);
    if (naming == TensorNaming::gguf && config.model_type == ModelType::llama) {
      found->second.interleaved_heads = spec.rotary_heads;
    }
    taken[spec.name] = std::move(found->second);
    files.tensors.erase(found);
  }
  problems.raise(files.where, "the config's tensors");
  return taken;
}

}  // namespace diffllama
