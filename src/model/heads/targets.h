#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"

namespace diffllama {

// What the heads' losses compare with, from the inputs of a forward; shared by the losses and their
// gradients. B batch, T tokens, E examples and their ends in the rows' concatenation. All throw
// InvalidArgument for a wrong shape or dtype.

/// Causal LM: for each token the label of the one after it, [B T], kIgnoreLabel for the last of a
/// row.
std::vector<std::int64_t> next_token_labels(const Tensor& labels, std::int64_t batch,
                                            std::int64_t tokens);

/// Sequence classification: for each example the last token whose id is not pad_token_id, the first
/// one when there is none, [E] of the rows' concatenation; the attention mask plays no part.
std::vector<std::int64_t> pooled_rows(const ModelConfig& config, const ForwardInputs& inputs,
                                      std::int64_t batch,
                                      std::span<const std::int64_t> example_ends);

/// config.problem_type, or transformers' rule where there is none: by number of classes and dtype
/// of the labels.
ProblemType problem_type_of(const ModelConfig& config, std::int64_t classes, const Tensor& labels);

/// Single label: one class an example, [E].
std::vector<std::int64_t> class_labels(const Tensor& labels, std::int64_t examples);
/// Regression and multi label: one number an example and class, [E classes].
std::vector<float> class_targets(const Tensor& labels, std::int64_t examples, std::int64_t classes);

/// Question answering: positions in each example, [E]; kIgnoreLabel for those past its end, which
/// do not count (transformers' ForQuestionAnsweringLoss); below 0 is 0.
std::vector<std::int64_t> span_labels(const char* name, const Tensor& positions,
                                      std::span<const std::int64_t> example_ends);
/// Throws unless start_positions and end_positions are both there or both not; true: both.
bool has_spans(const ForwardInputs& inputs);

}  // namespace diffllama
