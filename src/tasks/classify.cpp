#include "tasks/classify.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>

#include "tasks/ragged_forward.h"

namespace diffllama {
namespace {

// transformers' rule where no function is asked for.
ScoreFunction function_of(const ModelConfig& config, ScoreFunction asked) {
  if (asked != ScoreFunction::automatic) return asked;
  if (config.problem_type == ProblemType::regression) return ScoreFunction::none;
  if (config.problem_type == ProblemType::multi_label_classification || config.num_labels() == 1) {
    return ScoreFunction::sigmoid;
  }
  return ScoreFunction::softmax;
}

std::vector<std::int64_t> encode(const TaskModel& task_model, const ClassifyInput& input) {
  const Tokenizer& tokenizer = task_model.tokenizer;
  std::vector<std::int64_t> ids = input.input_ids ? *input.input_ids
                                  : input.text_pair
                                      ? tokenizer.encode_pair(input.text, *input.text_pair).ids
                                      : tokenizer.encode(input.text).ids;
  check_input_ids(task_model, ids);
  // The head reads the last token that is not padding, the first where there is none.
  const std::optional<std::int64_t>& pad = task_model.model.config.pad_token_id;
  while (pad && ids.size() > 1 && ids.back() == *pad) ids.pop_back();
  return ids;
}

Classification ranked(const ModelConfig& config, std::span<const float> scores,
                      std::int64_t top_k) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  if (top_k > 0 && top_k < std::ssize(order)) order.resize(static_cast<std::size_t>(top_k));
  Classification result;
  for (const std::size_t label : order) {
    result.labels.push_back(config.labels[label]);
    result.scores.push_back(scores[label]);
  }
  return result;
}

}  // namespace

std::vector<Classification> classify(const TaskModel& task_model,
                                     std::span<const ClassifyInput> inputs,
                                     const ClassifyOptions& options) {
  require_head("classify", task_model, Architecture::sequence_classification);
  if (options.top_k < 0) {
    throw InvalidArgument("[top_k] expected 0 (all) or more, got " + std::to_string(options.top_k));
  }
  const ModelConfig& config = task_model.model.config;
  const auto sequences = encode_inputs(
      task_model, inputs, [&](const ClassifyInput& input) { return encode(task_model, input); });
  std::vector<float> pooled;
  RaggedForward(task_model.model, task_model.parallel)
      .run(
          sequences,
          [&](std::size_t, std::span<const float> row) {
            pooled.insert(pooled.end(), row.begin(), row.end());
          },
          true);
  std::vector<float> logits = head_logits(task_model, pooled);
  const ScoreFunction function = function_of(config, options.function);
  const auto classes = static_cast<std::size_t>(config.num_labels());
  std::vector<Classification> results;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::span<float> scores = std::span(logits).subspan(i * classes, classes);
    if (function == ScoreFunction::softmax) softmax(scores);
    if (function == ScoreFunction::sigmoid) sigmoid(scores);
    results.push_back(ranked(config, scores, options.top_k));
  }
  return results;
}

}  // namespace diffllama
