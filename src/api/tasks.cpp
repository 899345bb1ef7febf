#include "diffllama/tasks.h"

#include "api/model.h"
#include "tasks/answer.h"
#include "tasks/classify.h"
#include "tasks/embed.h"
#include "tasks/tag.h"

namespace diffllama {
namespace {

// Calls run(task_model) with the parts of `model`.
template <class Run>
auto with_parts(const Model& model, const Tokenizer& tokenizer, const Run& run) {
  const ForwardModel forward = model.impl().forward_model();
  return run(
      TaskModel{.model = forward, .parallel = model.impl().parallel, .tokenizer = tokenizer});
}

}  // namespace

std::vector<Classification> classify(const Model& model, const Tokenizer& tokenizer,
                                     std::span<const ClassifyInput> inputs,
                                     const ClassifyOptions& options) {
  return with_parts(model, tokenizer,
                    [&](const TaskModel& parts) { return classify(parts, inputs, options); });
}

std::vector<std::vector<Answer>> answer(const Model& model, const Tokenizer& tokenizer,
                                        std::span<const Question> questions,
                                        const AnswerOptions& options) {
  return with_parts(model, tokenizer,
                    [&](const TaskModel& parts) { return answer(parts, questions, options); });
}

std::vector<std::vector<Entity>> tag(const Model& model, const Tokenizer& tokenizer,
                                     std::span<const TagInput> inputs, const TagOptions& options) {
  return with_parts(model, tokenizer,
                    [&](const TaskModel& parts) { return tag(parts, inputs, options); });
}

std::vector<std::vector<float>> embed(const Model& model, const Tokenizer& tokenizer,
                                      std::span<const std::string> texts,
                                      const EmbedOptions& options) {
  return with_parts(model, tokenizer,
                    [&](const TaskModel& parts) { return embed(parts, texts, options); });
}

}  // namespace diffllama
