#include "tasks/embed.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tasks/ragged_forward.h"

namespace diffllama {
namespace {

// The weight of a text's token `t` of `count`, by position.
double weight_of(Pooling pooling, std::size_t t, std::size_t count) {
  switch (pooling) {
    case Pooling::mean:
      return 1;
    case Pooling::last:
      return t + 1 == count ? 1 : 0;
    case Pooling::weighted:
      return static_cast<double>(t + 1);
  }
  return 0;
}

// hidden [T, C] to [C].
std::vector<float> pool(std::span<const float> hidden, std::size_t width,
                        const EmbedOptions& options) {
  const std::size_t count = hidden.size() / width;
  std::vector<double> sums(width);
  double total = 0;
  for (std::size_t t = 0; t < count; ++t) {
    const double weight = weight_of(options.pooling, t, count);
    if (weight == 0) continue;
    total += weight;
    for (std::size_t c = 0; c < width; ++c) sums[c] += weight * double{hidden[t * width + c]};
  }
  double squares = 0;
  for (double& sum : sums) {
    sum /= total;
    squares += sum * sum;
  }
  if (std::isnan(squares)) throw Error("[embed] expected hidden states that are numbers, got NaN");
  const double length = options.normalize && squares > 0 ? std::sqrt(squares) : 1;
  std::vector<float> embedding;
  embedding.reserve(width);
  for (const double sum : sums) embedding.push_back(static_cast<float>(sum / length));
  return embedding;
}

}  // namespace

std::vector<std::vector<float>> embed(const TaskModel& task_model,
                                      std::span<const std::string> texts,
                                      const EmbedOptions& options) {
  const auto sequences = encode_inputs(task_model, texts, [&](const std::string& text) {
    std::vector<std::int64_t> ids = task_model.tokenizer.encode(text).ids;
    check_input_ids(task_model, ids);
    return ids;
  });
  std::vector<std::vector<float>> embeddings;
  const auto width = static_cast<std::size_t>(task_model.model.config.hidden_size);
  RaggedForward(task_model.model, task_model.parallel)
      .run(sequences, [&](std::size_t, std::span<const float> hidden) {
        embeddings.push_back(pool(hidden, width, options));
      });
  return embeddings;
}

}  // namespace diffllama
