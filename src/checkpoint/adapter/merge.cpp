#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "checkpoint/adapter/adapter_head.h"
#include "checkpoint/adapter/lora_adapter.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/tensor_problems.h"

namespace diffllama {
namespace {

constexpr const char* kHead = "lm_head.weight";

bool is_same(const StoredTensor& a, const StoredTensor& b) {
  return !a.add_row && !b.add_row && a.view.dtype == b.view.dtype &&
         std::ranges::equal(a.view.bytes, b.view.bytes);
}

// The base model's tensors by the names that another class gives them, without the old head.
std::map<std::string, StoredTensor> renamed(std::map<std::string, StoredTensor> tensors,
                                            Architecture from, Architecture to) {
  if (from == to) return tensors;
  std::map<std::string, StoredTensor> result;
  for (auto& [name, stored] : tensors) {
    if (is_head_parameter(name)) continue;
    result[base_model_prefix(to) + name.substr(base_model_prefix(from).size())] = std::move(stored);
  }
  return result;
}

// The new head may lie in neither, or have another number of labels than the one that is there.
void check_head(const ModelConfig& config, const std::map<std::string, StoredTensor>& tensors) {
  TensorProblems problems;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const auto stored = tensors.find(spec.name);
    if (stored != tensors.end()) {
      problems.check(spec, stored->second.view);
    } else if (spec.required) {
      problems.add_missing(spec);
    }
  }
  problems.raise("LoRA adapter", "a head that the adapter or the model holds");
}

}  // namespace

void Checkpoint::merge(std::shared_ptr<const LoraAdapter> adapter) {
  tensors_ = renamed(std::move(tensors_), config_.architecture, adapter->model().architecture);
  config_ = adapter->model();
  const std::string embeddings = base_model_prefix(config_.architecture) + "embed_tokens.weight";
  const StoredTensor old_embeddings = tensors_.at(embeddings);
  for (const auto& [name, stored] : adapter->saved()) tensors_[name] = stored;
  check_head(config_, tensors_);
  if (config_.tie_word_embeddings && config_.architecture == Architecture::causal_lm) {
    // In PEFT a module that is saved whole is a copy, and what was tied to it keeps the original;
    // a target's own weight is the embeddings.
    const bool copied = std::ranges::any_of(
        adapter->layout().saved, [&](const TensorSpec& spec) { return spec.name == embeddings; });
    const bool targeted = adapter->modules().contains("lm_head");
    if (copied || targeted) tensors_.try_emplace(kHead, old_embeddings);
  }
  for (const auto& [module, matrices] : adapter->modules()) {
    tensors_.at(module + ".weight").add_row = [adapter, lora = &matrices](std::int64_t row,
                                                                          std::span<float> values) {
      lora->add_row(row, values);
    };
  }
  if (const auto head = tensors_.find(kHead);
      head != tensors_.end() && config_.tie_word_embeddings) {
    if (is_same(head->second, tensors_.at(embeddings))) {
      tensors_.erase(head);
    } else {
      config_.tie_word_embeddings = false;
    }
  }
  files_.push_back(std::move(adapter));
}

}  // namespace diffllama
