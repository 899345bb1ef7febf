#include "tasks/tag.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "tasks/entities.h"
#include "tasks/ragged_forward.h"
#include "tasks/tagged_text.h"

namespace diffllama {

std::vector<std::vector<Entity>> tag(const TaskModel& task_model, std::span<const TagInput> inputs,
                                     const TagOptions& options) {
  require_head("tag", task_model, Architecture::token_classification);
  const Tokenizer& tokenizer = task_model.tokenizer;
  const auto texts = encode_inputs(task_model, inputs, [&](const TagInput& input) {
    TaggedText text = encode_tagged(tokenizer, input);
    check_input_ids(task_model, text.ids);
    return text;
  });
  std::vector<std::vector<std::int64_t>> sequences;
  sequences.reserve(texts.size());
  for (const TaggedText& text : texts) sequences.push_back(text.ids);
  const auto classes = static_cast<std::size_t>(task_model.model.config.num_labels());
  std::vector<std::vector<Entity>> results;
  RaggedForward(task_model.model, task_model.parallel)
      .run(sequences, [&](std::size_t sequence, std::span<const float> hidden) {
        std::vector<float> scores = head_logits(task_model, hidden);
        for (std::size_t t = 0; t < sequences[sequence].size(); ++t) {
          softmax(std::span(scores).subspan(t * classes, classes));
        }
        results.push_back(entities_of(
            {.tokenizer = tokenizer, .labels = task_model.model.config.labels, .scores = scores},
            texts[sequence], options));
      });
  return results;
}

}  // namespace diffllama
