#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "diffllama/tasks.h"
#include "diffllama/tokenizer.h"
#include "model/forward.h"

namespace diffllama {

/// What a task works with.
struct TaskModel {
  const ForwardModel& model;
  const Parallel& parallel;
  const Tokenizer& tokenizer;
};

/// Throws InvalidArgument "[TASK] expected a model for HEAD, got CLASS" unless the model has it.
void require_head(const char* task, const TaskModel& task_model, Architecture head);

/// Throws InvalidArgument for no token and for ids that the model does not have.
void check_input_ids(const TaskModel& task_model, std::span<const std::int64_t> ids);

/// The head's logits of some rows of last_hidden_state, [N, classes]. Throws Error where one is not
/// a number.
std::vector<float> head_logits(const TaskModel& task_model, std::span<const float> hidden);

/// The logits of one row as transformers' pipelines compute scores of them, in place.
void softmax(std::span<float> logits);
void sigmoid(std::span<float> logits);

/// Calls encode(input) for each of `inputs` on all threads; of those that throw, the first in order
/// is rethrown, as InvalidInput. Gives the results in order.
template <class Input, class Encode>
auto encode_inputs(const TaskModel& task_model, std::span<const Input> inputs,
                   const Encode& encode) {
  std::vector<decltype(encode(inputs[0]))> results(inputs.size());
  std::vector<std::string> problems(inputs.size());
  task_model.parallel.run(std::ssize(inputs), [&](std::int64_t task, int) {
    const auto i = static_cast<std::size_t>(task);
    try {
      results[i] = encode(inputs[i]);
    } catch (const Error& error) {
      problems[i] = error.what();
    }
  });
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!problems[i].empty()) throw InvalidInput(i, problems[i]);
  }
  return results;
}

}  // namespace diffllama
