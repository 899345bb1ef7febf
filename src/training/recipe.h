#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/adapter/lora_config.h"
#include "diffllama/config.h"
#include "diffllama/documents.h"
#include "diffllama/model.h"
#include "diffllama/tokenizer.h"
#include "diffllama/training.h"
#include "training/data/labelled_texts.h"
#include "training/data/tagged_sentences.h"
#include "training/optimizer.h"
#include "training/schedule.h"

namespace diffllama {

/// What is trained on; it decides the model's head. text and jsonl (rows): language modelling; chat
/// and completion: the same, with a loss of the assistant's turns or the completions alone;
/// classification: rows with labels; squad: question answering; conllu and conll: token
/// classification.
enum class DataKind { text, jsonl, chat, completion, classification, squad, conllu, conll };

/// The head that a kind of data trains.
Architecture architecture_for(DataKind kind);

// The sections of a recipe. recipe_fields() describes every field; names are those of transformers'
// TrainingArguments and of PEFT's LoraConfig where they have one.

struct ModelRecipe {
  std::string from;
  nlohmann::json config;  // an object, a path, or null
  std::string tokenizer;
  std::optional<DType> dtype;
  std::vector<std::string> labels;
  std::optional<ProblemType> problem_type;
};

struct DataRecipe {
  std::optional<DataKind> kind;  // required
  std::vector<std::string> train, valid;
  std::int64_t sequence_length = 0;
  bool packing = true;
  bool append_eos = true;
  TextDocuments text_documents = TextDocuments::file;
  std::int64_t doc_stride = 128;
  std::int64_t max_answer_length = 30;
  ConlluColumn tag_column = ConlluColumn::upos;
  // What fields of rows are called.
  std::string text_column = "text", text_pair_column = "text_pair", label_column = "label";
  std::optional<LabelLists> label_lists;
  std::string id_column = "id", question_column = "question", context_column = "context",
              answers_column = "answers";
  std::string words_column = "tokens", tags_column = "ner_tags";
  std::string messages_column = "messages", prompt_column = "prompt",
              completion_column = "completion";
  std::string chat_template;
  std::int64_t skip_bad_rows = 0;
  std::string shard_dir;
};

/// A tokenizer that is trained before the model.
struct TokenizerRecipe {
  std::optional<TokenizerKind> type;  // absent: none is
  std::int64_t vocab_size = 0;        // 0: the model's
  std::int64_t min_frequency = 2;
  std::string bos_token, eos_token;
  std::vector<std::string> special_tokens;
  std::vector<std::string> files;  // empty: data.train
};

/// data.sequence_length, or for 0 the smaller of 512 and max_position_embeddings.
std::int64_t sequence_length(const DataRecipe& data, const ModelConfig& config);

struct TrainingRecipe {
  double num_train_epochs = 1;
  std::int64_t max_steps = 0;
  std::int64_t batch_size = 8;
  std::int64_t gradient_accumulation_steps = 1;
  double max_grad_norm = 1.0;
  std::int64_t seed = 42;
  ComputeType dtype = ComputeType::float32;
  bool recompute_activations = false;
  std::vector<std::string> train_only, freeze;  // training/parameter_groups.h
  std::int64_t lambda_warmup_steps = 0;
};

struct OptimizerRecipe {
  double learning_rate = 5e-5;
  AdamW::Options adam;
};

struct ScheduleRecipe {
  SchedulerType lr_scheduler_type = SchedulerType::linear;
  std::int64_t warmup_steps = 0;
  double warmup_ratio = 0;
  double min_lr_rate = 0;
};

struct EvaluationRecipe {
  std::int64_t eval_steps = 0;
  std::int64_t batch_size = 8;
  double no_answer_threshold = 0;
};

struct CheckpointsRecipe {
  std::string output_dir;  // required
  std::int64_t save_steps = 500;
  std::int64_t save_total_limit = 2;
  bool save_best = true;
  std::string best_metric = "loss";
};

struct MetricsRecipe {
  std::int64_t logging_steps = 1;
  std::optional<double> spike_factor;
};

/// Everything that a training run follows from.
struct Recipe {
  ModelRecipe model;
  TokenizerRecipe tokenizer;
  DataRecipe data;
  TrainingRecipe training;
  OptimizerRecipe optimizer;
  ScheduleRecipe schedule;
  std::optional<LoraConfig> lora;  // absent: every parameter is trained
  EvaluationRecipe evaluation;
  CheckpointsRecipe checkpoints;
  MetricsRecipe metrics;

  /// Loss over its running mean at which the run stops; 0: never. Unless set 3 in language
  /// modelling, and 0 for the heads, whose loss jumps from batch to batch.
  double spike_factor() const;
};

/// Reads a recipe, an object of sections; what is absent has its default. Unknown names are refused
/// with the nearest known one. Throws FormatError, ConfigError "WHERE: SECTION.FIELD: expected ...,
/// got ...".
Recipe parse_recipe(std::string_view json_text, const std::string& where);

/// Sets one field, "optimizer.learning_rate" to "1e-3": JSON, or plain text where the field takes
/// text; a list also takes one text. "lora" takes null. Throws ConfigError.
void set_recipe_field(Recipe& recipe, const std::string& name, const std::string& value);

/// Throws ConfigError when fields are missing or do not fit together.
void validate(const Recipe& recipe, const std::string& where);
/// The same of a recipe that evaluates a model: data.kind and data.valid are what it needs.
void validate_evaluation(const Recipe& recipe, const std::string& where);

/// The whole recipe, defaults included, as parse_recipe reads it.
std::string write_recipe(const Recipe& recipe);

/// Names of fields in which two recipes differ, with both values: "training.seed: 1, was 2".
std::vector<std::string> recipe_differences(const Recipe& recipe, const Recipe& before);

}  // namespace diffllama
