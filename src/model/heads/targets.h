#pragma once

#include <cstdint>
#include <vector>

#include "diffllama/config.h"
#include "diffllama/model.h"
#include "diffllama/tensor.h"

namespace diffllama {

// What the heads' losses compare with, from the inputs of a forward; shared by the losses and their
// gradients. B batch, T tokens. All throw InvalidArgument for a wrong shape or dtype.

/// Causal LM: for each token the label of the one after it, [B T], kIgnoreLabel for the last of a
/// row.
std::vector<std::int64_t> next_token_labels(const Tensor& labels, std::int64_t batch,
                                            std::int64_t tokens);

/// Sequence classification: for each sequence the last token whose id is not pad_token_id, the
/// first one when there is none; the attention mask plays no part.
std::vector<std::int64_t> pooled_positions(const ModelConfig& config, const ForwardInputs& inputs,
                                           std::int64_t batch, std::int64_t tokens);

/// config.problem_type, or transformers' rule where there is none: by number of classes and dtype
/// of the labels.
ProblemType problem_type_of(const ModelConfig& config, std::int64_t classes, const Tensor& labels);

/// Single label: one class a sequence, [B].
std::vector<std::int64_t> class_labels(const Tensor& labels, std::int64_t batch);
/// Regression and multi label: one number a sequence and class, [B classes].
std::vector<float> class_targets(const Tensor& labels, std::int64_t batch, std::int64_t classes);

/// Question answering: positions, clamped to 0..T; T is not counted (transformers'
/// ForQuestionAnsweringLoss).
std::vector<std::int64_t> span_labels(const char* name, const Tensor& positions, std::int64_t batch,
                                      std::int64_t tokens);
/// Throws unless start_positions and end_positions are both there or both not; true: both.
bool has_spans(const ForwardInputs& inputs);

}  // namespace diffllama
