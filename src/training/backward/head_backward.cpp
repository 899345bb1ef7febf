#include "training/backward/head_backward.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

#include "base/random.h"
#include "diffllama/error.h"
#include "kernels/elementwise.h"
#include "kernels/gradients.h"
#include "model/heads/head_checks.h"
#include "model/heads/heads.h"
#include "model/heads/loss_terms.h"
#include "model/heads/losses.h"
#include "model/heads/targets.h"
#include "model/row_tasks.h"

namespace diffllama {
namespace {

const Tensor& labels_of(const ForwardInputs& inputs) {
  if (!inputs.labels) throw InvalidArgument("[labels] expected labels for a loss, got none");
  return *inputs.labels;
}

// Rows of last_hidden_state with a class each.
struct LabelledRows {
  std::vector<std::int64_t> rows, labels;

  std::int64_t size() const { return std::ssize(rows); }
  void add(std::int64_t row, std::int64_t label, std::int64_t classes, std::int64_t position) {
    if (label == kIgnoreLabel) return;
    check_label("labels", label, classes, position);
    rows.push_back(row);
    labels.push_back(label);
  }
};

class HeadBackward {
 public:
  HeadBackward(const HeadGradient& head, LinearBackward& linear, float* d_hidden,
               HeadBackwardScratch& scratch, const Parallel& parallel)
      : head_(head),
        linear_(linear),
        d_hidden_(d_hidden),
        scratch_(scratch),
        parallel_(parallel),
        width_(head.config.hidden_size),
        classes_(head.weights.head.weight.n()) {
    std::fill_n(d_hidden, rows() * width_, 0.0F);
  }

  double run() {
    switch (head_.config.architecture) {
      case Architecture::causal_lm:
        return class_rows(
            next_token_labels(labels_of(head_.inputs), head_.batch.batch, head_.batch.tokens));
      case Architecture::token_classification:
        return token_classification();
      case Architecture::sequence_classification:
        return sequence_classification();
      case Architecture::question_answering:
        return question_answering();
      case Architecture::base_model:
        break;
    }
    throw InvalidArgument("[architecture] expected a class with a loss, got the base model");
  }

 private:
  // d_logits(logits, first, rows) turns the logits of some of the rows into their gradients.
  using DLogits = std::function<void(float* logits, std::int64_t first, std::int64_t rows)>;
  void through_rows(const std::vector<std::int64_t>& rows, const DLogits& d_logits);

  double class_rows(const std::vector<std::int64_t>& labels);
  double cross_entropy_rows(const LabelledRows& labelled);
  double token_classification();
  double sequence_classification();
  double question_answering();
  void drop_out(const std::vector<std::int64_t>& rows, float* x) const;
  double dropout() const;
  std::int64_t rows() const { return head_.batch.batch * head_.batch.tokens; }

  const HeadGradient& head_;
  LinearBackward& linear_;
  float* d_hidden_;
  HeadBackwardScratch& scratch_;
  const Parallel& parallel_;
  std::int64_t width_, classes_;
};

// transformers' rule for DiffLlamaForTokenClassification; only while training.
double HeadBackward::dropout() const {
  if (!head_.dropout_seed || head_.config.architecture != Architecture::token_classification) {
    return 0;
  }
  constexpr double kDefault = 0.1;
  return head_.config.classifier_dropout.value_or(head_.config.hidden_dropout.value_or(kDefault));
}

// Zeroes values with the probability of dropout and scales the others up: a function of the seed
// and the value's place in the batch.
void HeadBackward::drop_out(const std::vector<std::int64_t>& rows, float* x) const {
  const double probability = dropout();
  if (probability <= 0) return;
  const Random random(*head_.dropout_seed, 0);
  const auto factor = static_cast<float>(1.0 / (1.0 - probability));
  for_each_row(std::ssize(rows), parallel_, [&](std::int64_t i) {
    const std::int64_t first = rows[static_cast<std::size_t>(i)] * width_;
    for (std::int64_t c = 0; c < width_; ++c) {
      const bool kept = random.uniform(static_cast<std::uint64_t>(first + c)) >= probability;
      x[i * width_ + c] = kept ? x[i * width_ + c] * factor : 0.0F;
    }
  });
}

// The head's product and its backward for some rows of last_hidden_state, a part at a time so that
// logits of a large vocabulary stay small.
void HeadBackward::through_rows(const std::vector<std::int64_t>& rows, const DLogits& d_logits) {
  constexpr std::int64_t kMostLogits = std::int64_t{1} << 24;
  constexpr std::int64_t kRows = 64;  // a multiple of every tile's
  const bool whole = head_.config.architecture == Architecture::question_answering;
  const std::int64_t all = std::ssize(rows);
  const std::int64_t part = whole ? all : std::max(kRows, kMostLogits / classes_ / kRows * kRows);
  for (std::int64_t first = 0; first < all; first += part) {
    const std::vector<std::int64_t> some(rows.begin() + first,
                                         rows.begin() + std::min(all, first + part));
    const std::int64_t count = std::ssize(some);
    const auto values = static_cast<std::size_t>(count * width_);
    float* x = scratch_.x.reserve(values);
    float* dx = scratch_.dx.reserve(values);
    float* logits = scratch_.logits.reserve(static_cast<std::size_t>(count * classes_));
    for (std::int64_t i = 0; i < count; ++i) {
      std::copy_n(head_.last_hidden_state + some[static_cast<std::size_t>(i)] * width_, width_,
                  x + i * width_);
    }
    drop_out(some, x);
    head_product(head_.weights, x, count, logits, scratch_.rows, parallel_, linear_.dropout());
    d_logits(logits, first, count);
    linear_.run({{head_.weights.head_name, head_.weights.head, {logits, count, classes_}}},
                {x, count, width_}, dx);
    drop_out(some, dx);
    for (std::int64_t i = 0; i < count; ++i) {
      add_to(d_hidden_ + some[static_cast<std::size_t>(i)] * width_, dx + i * width_, width_);
    }
  }
}

double HeadBackward::cross_entropy_rows(const LabelledRows& labelled) {
  const auto weight = static_cast<float>(1.0 / head_.denominator.first);
  std::vector<double> losses(labelled.rows.size());
  through_rows(labelled.rows, [&](float* logits, std::int64_t first, std::int64_t rows) {
    for_each_row(rows, parallel_, [&](std::int64_t row) {
      const auto at = static_cast<std::size_t>(first + row);
      losses[at] =
          cross_entropy_backward(logits + row * classes_, classes_, labelled.labels[at], weight);
    });
  });
  double total = 0;
  for (const double loss : losses) total += loss;
  return total / head_.denominator.first;
}

// A label for every token.
double HeadBackward::class_rows(const std::vector<std::int64_t>& labels) {
  LabelledRows labelled;
  for (std::int64_t row = 0; row < std::ssize(labels); ++row) {
    labelled.add(row, labels[static_cast<std::size_t>(row)], classes_, row);
  }
  return cross_entropy_rows(labelled);
}

double HeadBackward::token_classification() {
  const Tensor& labels = labels_of(head_.inputs);
  require_tensor("labels", labels, DType::int64, {head_.batch.batch, head_.batch.tokens});
  return class_rows({labels.i64().begin(), labels.i64().end()});
}

double HeadBackward::sequence_classification() {
  const Tensor& labels = labels_of(head_.inputs);
  const std::vector<std::int64_t> rows =
      pooled_rows(head_.config, head_.inputs, head_.batch.batch, head_.batch.example_ends);
  const ProblemType problem = problem_type_of(head_.config, classes_, labels);
  if (problem == ProblemType::single_label_classification) {
    const std::vector<std::int64_t> classes = class_labels(labels, std::ssize(rows));
    LabelledRows labelled;
    for (std::size_t e = 0; e < rows.size(); ++e) {
      labelled.add(rows[e], classes[e], classes_, static_cast<std::int64_t>(e));
    }
    return cross_entropy_rows(labelled);
  }
  const std::vector<float> targets = class_targets(labels, std::ssize(rows), classes_);
  double total = 0;
  through_rows(rows, [&](float* logits, std::int64_t first, std::int64_t count) {
    for (std::int64_t i = 0; i < count * classes_; ++i) {
      const double target = targets[static_cast<std::size_t>(first * classes_ + i)];
      const LossTerm term = problem == ProblemType::regression ? squared_error(logits[i], target)
                                                               : logistic_error(logits[i], target);
      total += term.loss;
      logits[i] = static_cast<float>(term.derivative / head_.denominator.first);
    }
  });
  return total / head_.denominator.first;
}

// Two cross entropies over the tokens of each example, of the columns (start, end); their mean.
double HeadBackward::question_answering() {
  const std::vector<std::int64_t>& ends = head_.batch.example_ends;
  const std::vector<std::int64_t> labels[2] = {
      span_labels("start_positions", *head_.inputs.start_positions, ends),
      span_labels("end_positions", *head_.inputs.end_positions, ends)};
  const double denominators[2] = {head_.denominator.first, head_.denominator.second};
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  double loss = 0;
  through_rows(all, [&](float* logits, std::int64_t, std::int64_t) {
    std::vector<float> column;
    for (std::size_t part = 0; part < 2; ++part) {
      double total = 0;
      std::int64_t first = 0;
      for (std::size_t e = 0; e < ends.size(); first = ends[e++]) {
        float* values = logits + first * 2 + part;
        column.resize(static_cast<std::size_t>(ends[e] - first));
        for (std::size_t t = 0; t < column.size(); ++t) column[t] = values[2 * t];
        if (labels[part][e] == kIgnoreLabel) {
          std::ranges::fill(column, 0.0F);
        } else {
          total += cross_entropy_backward(column.data(), std::ssize(column), labels[part][e],
                                          static_cast<float>(0.5 / denominators[part]));
        }
        for (std::size_t t = 0; t < column.size(); ++t) values[2 * t] = column[t];
      }
      loss += 0.5 * total / denominators[part];
    }
  });
  return loss;
}

double counted(const std::vector<std::int64_t>& labels) {
  return static_cast<double>(
      std::ranges::count_if(labels, [](std::int64_t label) { return label != kIgnoreLabel; }));
}

}  // namespace

LossCount count_labels(const ModelConfig& config, const ForwardInputs& inputs,
                       const ForwardBatch& batch) {
  const std::int64_t examples = std::ssize(batch.example_ends);
  switch (config.architecture) {
    case Architecture::causal_lm:
      return {counted(next_token_labels(labels_of(inputs), batch.batch, batch.tokens)), 0};
    case Architecture::token_classification: {
      const Tensor& labels = labels_of(inputs);
      require_tensor("labels", labels, DType::int64, {batch.batch, batch.tokens});
      return {counted({labels.i64().begin(), labels.i64().end()}), 0};
    }
    case Architecture::sequence_classification: {
      const Tensor& labels = labels_of(inputs);
      const std::int64_t classes = config.num_labels();
      if (problem_type_of(config, classes, labels) == ProblemType::single_label_classification) {
        return {counted(class_labels(labels, examples)), 0};
      }
      return {static_cast<double>(class_targets(labels, examples, classes).size()), 0};
    }
    case Architecture::question_answering:
      if (!has_spans(inputs)) {
        throw InvalidArgument("[start_positions] expected positions for a loss, got none");
      }
      return {counted(span_labels("start_positions", *inputs.start_positions, batch.example_ends)),
              counted(span_labels("end_positions", *inputs.end_positions, batch.example_ends))};
    case Architecture::base_model:
      break;
  }
  throw InvalidArgument("[architecture] expected a class with a loss, got the base model");
}

LossCount count_labels(const ModelConfig& config, const ForwardInputs& inputs) {
  return count_labels(config, inputs, read_batch(config, inputs, nullptr, HeadExamples::sequences));
}

double head_backward(const HeadGradient& head, LinearBackward& linear, float* d_hidden,
                     HeadBackwardScratch& scratch, const Parallel& parallel) {
  return HeadBackward(head, linear, d_hidden, scratch, parallel).run();
}

}  // namespace diffllama
