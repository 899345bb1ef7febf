#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffllama/error.h"
#include "diffllama/model.h"
#include "diffllama/tokenizer.h"

namespace [[gnu::visibility("default")]] diffllama {

// The heads as tasks, from texts to answers, as transformers' pipelines have them (docs/tasks.md).
// Each takes any number of inputs and gives one result for each, in order. They go through the
// model together, a step's worth of tokens at a time, without padding: a result has the same bits
// whatever other inputs there are. Places count characters (Unicode code points); texts are UTF-8,
// and bytes that are not are read as U+FFFD.
//
// All throw InvalidArgument for a model with another head and for options that are not allowed,
// InvalidInput for an input that cannot be used, Error where the model's outputs are not numbers.

/// An input that cannot be used: of several the first. what() says why, without the place.
class InvalidInput : public InvalidArgument {
 public:
  InvalidInput(std::size_t index, const std::string& what) : InvalidArgument(what), index_(index) {}
  /// Which of the inputs, from 0.
  std::size_t index() const { return index_; }

 private:
  std::size_t index_;
};

/// What turns logits into scores. automatic, as transformers: none for regression, sigmoid for
/// several labels at once and for a model with one label, softmax else.
enum class ScoreFunction { automatic, softmax, sigmoid, none };

struct ClassifyInput {
  std::string text;
  std::optional<std::string> text_pair;
  /// In place of text and text_pair: its tokens, special ones among them.
  std::optional<std::vector<std::int64_t>> input_ids = std::nullopt;
};

struct ClassifyOptions {
  std::int64_t top_k = 0;  // labels that are given, the highest first; 0: all
  ScoreFunction function = ScoreFunction::automatic;
};

/// Labels and their scores, the highest first; of equal scores the class with the lower number.
struct Classification {
  std::vector<std::string> labels;
  std::vector<float> scores;
};

/// Sequence classification: transformers' TextClassificationPipeline. Texts are not truncated.
std::vector<Classification> classify(const Model& model, const Tokenizer& tokenizer,
                                     std::span<const ClassifyInput> inputs,
                                     const ClassifyOptions& options = {});

struct Question {
  std::string question, context;  // neither may be empty
};

struct AnswerOptions {
  std::int64_t top_k = 1;               // the most answers
  std::int64_t max_answer_length = 15;  // tokens
  /// Tokens of the context that two windows share; absent: 128, or half of max_seq_length where
  /// that is less.
  std::optional<std::int64_t> doc_stride;
  /// Tokens of a window, with the question and special tokens; absent: 384, or the tokenizer's
  /// model_max_length where that is less.
  std::optional<std::int64_t> max_seq_length;
  /// The empty answer competes, with the least score that a window gives to its first token.
  bool handle_impossible = false;
};

/// A span of the context, characters [start, end).
struct Answer {
  std::string answer;
  double score = 0;
  std::int64_t start = 0, end = 0;
};

/// Question answering: the QuestionAnsweringPipeline of transformers 4. A context that is too long
/// goes in windows that overlap; spans are widened to whole words of the tokenizer, and the scores
/// of spans with the same text, in any case, are added up. The best first.
std::vector<std::vector<Answer>> answer(const Model& model, const Tokenizer& tokenizer,
                                        std::span<const Question> questions,
                                        const AnswerOptions& options = {});

/// How tokens become entities (transformers' aggregation_strategy): none, each token by itself;
/// simple, neighbours of the same group together; first, average and max: likewise, after the
/// tokens of each word have agreed on one label, the first token's, that of the mean scores, or
/// that of the highest score.
enum class Aggregation { none, simple, first, average, max };

struct TagInput {
  std::string text;
  /// In place of text, its words, each of which is tokenised by itself; places are those of the
  /// words with a space between each two.
  std::optional<std::vector<std::string>> words;
};

struct TagOptions {
  Aggregation aggregation = Aggregation::none;
  std::vector<std::string> ignore_labels = {"O"};  // what is left out, groups by their name
};

/// A token or group of tokens and its label.
struct Entity {
  std::string entity;  // the label; of a group without "B-" and "I-"
  float score = 0;
  std::int64_t index = 0;           // Aggregation::none: the token's number, special tokens counted
  std::string word;                 // the token as the vocabulary writes it; of a group its text
  std::int64_t start = 0, end = 0;  // characters
};

/// Token classification: transformers' TokenClassificationPipeline. Texts longer than the
/// tokenizer's model_max_length lose their end.
std::vector<std::vector<Entity>> tag(const Model& model, const Tokenizer& tokenizer,
                                     std::span<const TagInput> inputs,
                                     const TagOptions& options = {});

/// mean: of all tokens, special ones too. last: the last token's. weighted: the mean with weights
/// 1, 2, 3, ... (SGPT, arXiv 2202.08904).
enum class Pooling { mean, last, weighted };

struct EmbedOptions {
  Pooling pooling = Pooling::mean;
  bool normalize = false;  // to length 1
};

/// A vector of hidden_size values for each text, pooled from the last hidden state, behind the
/// final norm (transformers' FeatureExtractionPipeline of the base model). Any head.
std::vector<std::vector<float>> embed(const Model& model, const Tokenizer& tokenizer,
                                      std::span<const std::string> texts,
                                      const EmbedOptions& options = {});

}  // namespace diffllama
