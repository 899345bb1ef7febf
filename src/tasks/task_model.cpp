#include "tasks/task_model.h"

#include <algorithm>
#include <cmath>

#include "model/forward_batch.h"
#include "model/heads/heads.h"

namespace diffllama {
namespace {

const char* head_name(Architecture head) {
  switch (head) {
    case Architecture::base_model:
      return "the base model";
    case Architecture::causal_lm:
      return "language modelling";
    case Architecture::sequence_classification:
      return "sequence classification";
    case Architecture::question_answering:
      return "question answering";
    case Architecture::token_classification:
      return "token classification";
  }
  return "";
}

}  // namespace

void require_head(const char* task, const TaskModel& task_model, Architecture head) {
  const ModelConfig& config = task_model.model.config;
  if (config.architecture == head) return;
  throw InvalidArgument(std::string("[") + task + "] expected a model for " + head_name(head) +
                        ", got " + config.class_name());
}

void check_input_ids(const TaskModel& task_model, std::span<const std::int64_t> ids) {
  if (ids.empty()) throw InvalidArgument("text: expected one token or more, got none");
  check_ids("tokens", ids, task_model.model.config.vocab_size);
}

std::vector<float> head_logits(const TaskModel& task_model, std::span<const float> hidden) {
  const ModelWeights& weights = task_model.model.weights;
  const std::int64_t rows = std::ssize(hidden) / task_model.model.config.hidden_size;
  std::vector<float> logits(static_cast<std::size_t>(rows * weights.head.weight.n()));
  ActivationRows scratch;
  head_product(weights, hidden.data(), rows, logits.data(), scratch, task_model.parallel);
  if (std::ranges::any_of(logits, [](float logit) { return std::isnan(logit); })) {
    throw Error("[logits] expected numbers, got NaN");
  }
  return logits;
}

void softmax(std::span<float> logits) {
  const float largest = std::ranges::max(logits);
  float sum = 0;
  for (float& logit : logits) {
    logit = std::exp(logit - largest);
    sum += logit;
  }
  for (float& logit : logits) logit /= sum;
}

void sigmoid(std::span<float> logits) {
  for (float& logit : logits) logit = 1 / (1 + std::exp(-logit));
}

}  // namespace diffllama
