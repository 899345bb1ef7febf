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

bool is_there(const TensorFiles& files, const std::string& name) {
  return files.tensors.contains(name) || files.unread.contains(name);
}

// The same, and the head's name for the embeddings where that is how a tied model stores the one
// matrix.
std::vector<std::string> names_for(const TensorSpec& spec, const ModelConfig& config,
                                   TensorNaming naming, const TensorFiles& files) {
  std::vector<std::string> names = accepted_names(spec, config.architecture, naming);
  const bool one_matrix =
      config.tie_word_embeddings && config.architecture == Architecture::causal_lm;
  if (naming == TensorNaming::transformers && one_matrix &&
      spec.name == base_model_prefix(config.architecture) + "embed_tokens.weight" &&
      std::ranges::none_of(names, [&](const auto& name) { return is_there(files, name); })) {
    names.emplace_back("lm_head.weight");
  }
  return names;
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
    const UnreadTensor* unread = nullptr;
    for (const std::string& name : names_for(spec, config, naming, files)) {
      if (found == files.tensors.end()) found = files.tensors.find(name);
      if (const auto at = files.unread.find(name); at != files.unread.end()) unread = &at->second;
    }
    if (found == files.tensors.end()) {
      if (unread != nullptr) {
        problems.add_dtype(spec.name, unread->dtype);
      } else if (spec.required) {
        problems.add_missing(spec);
      }
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
