#include "training/data_sources.h"

#include <utility>

#include "config/json_fields.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "training/data/conllu.h"
#include "training/data/labelled_texts.h"
#include "training/data/language_model_source.h"
#include "training/data/question_answering_source.h"
#include "training/data/sequence_classification_source.h"
#include "training/data/token_classification_source.h"
#include "training/data/tokenize_corpus.h"

namespace diffllama {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> as_paths(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

// "PATH", or "PATH and 2 more".
std::string files_text(const std::vector<std::string>& files) {
  if (files.size() == 1) return files[0];
  return files[0] + " and " + std::to_string(files.size() - 1) + " more";
}

/// What sources of all kinds are made from.
struct Context {
  const Recipe& recipe;
  const ModelConfig& config;
  const fs::path& tokenizer_path;
  const Tokenizer& tokenizer;
  const std::function<void(std::uint64_t, std::uint64_t, std::int64_t)>& progress;
  const WarningHandler& warn;
  const Parallel& parallel;
};

std::unique_ptr<ExampleSource> language_model(const Context& context,
                                              const std::vector<std::string>& files,
                                              const char* name) {
  const DataRecipe& data = context.recipe.data;
  const fs::path shards = data.shard_dir.empty()
                              ? fs::path(context.recipe.checkpoints.output_dir) / "shards"
                              : fs::path(data.shard_dir);
  CorpusOptions options;
  options.paths = as_paths(files);
  options.format = data.kind == DataKind::text ? DocumentFormat::text : DocumentFormat::json_lines;
  options.text_documents = data.text_documents;
  options.append_eos = data.append_eos;
  options.progress = context.progress;
  options.warn = context.warn;
  TokenShards corpus =
      tokenize_corpus(context.tokenizer, tokenizer_fingerprint(context.tokenizer_path), options,
                      shards / name, context.parallel);
  const std::int64_t length = sequence_length(data, context.config);
  if (corpus.tokens() < length) {
    throw FormatError(files_text(files) + ": expected at least the " + std::to_string(length) +
                      " tokens of one sequence (data.sequence_length), got " +
                      std::to_string(corpus.tokens()));
  }
  return std::make_unique<LanguageModelSource>(std::move(corpus), length,
                                               data.packing ? Packing::packed : Packing::plain);
}

std::unique_ptr<ExampleSource> open_source(const Context& context,
                                           const std::vector<std::string>& files,
                                           const char* name) {
  const DataRecipe& data = context.recipe.data;
  const ModelConfig& config = context.config;
  switch (*data.kind) {
    case DataKind::text:
    case DataKind::jsonl:
      return language_model(context, files, name);
    case DataKind::classification:
      return std::make_unique<SequenceClassificationSource>(
          as_paths(files), context.tokenizer,
          SequenceClassificationOptions{.labels = config.labels,
                                        .problem_type = config.problem_type,
                                        .max_length = sequence_length(data, config),
                                        .pad_token_id = config.pad_token_id},
          context.parallel);
    case DataKind::squad:
      return std::make_unique<QuestionAnsweringSource>(
          as_paths(files), context.tokenizer,
          QuestionAnsweringOptions{.max_length = sequence_length(data, config),
                                   .doc_stride = data.doc_stride,
                                   .pad_token_id = config.pad_token_id},
          context.parallel);
    case DataKind::conllu:
      return std::make_unique<TokenClassificationSource>(
          as_paths(files), context.tokenizer,
          TokenClassificationOptions{.labels = config.labels,
                                     .column = data.tag_column,
                                     .max_length = sequence_length(data, config),
                                     .pad_token_id = config.pad_token_id},
          context.parallel);
  }
  return nullptr;
}

// The source of data.train or data.valid; says when texts lost their end.
std::unique_ptr<ExampleSource> open_named(const Context& context,
                                          const std::vector<std::string>& files, const char* name) {
  auto source = open_source(context, files, name);
  if (source->cut() > 0) {
    emit_warning(context.warn,
                 std::string("data.") + name + ": " + std::to_string(source->cut()) + " of " +
                     std::to_string(source->size()) + " examples have more than " +
                     std::to_string(sequence_length(context.recipe.data, context.config)) +
                     " tokens (data.sequence_length): their ends are cut off");
  }
  return source;
}

}  // namespace

DataLabels data_labels(const Recipe& recipe) {
  DataLabels labels;
  if (recipe.data.kind == DataKind::classification) {
    LabelSummary summary = collect_labels(as_paths(recipe.data.train));
    labels.names = std::move(summary.names);
    labels.problem_type = summary.problem_type;
  } else if (recipe.data.kind == DataKind::conllu) {
    labels.names = collect_tags(as_paths(recipe.data.train), recipe.data.tag_column);
  }
  return labels;
}

DataSources open_data(
    const Recipe& recipe, const ModelConfig& config, const fs::path& tokenizer_path,
    const Tokenizer& tokenizer,
    const std::function<void(std::uint64_t, std::uint64_t, std::int64_t)>& progress,
    const WarningHandler& warn, const Parallel& parallel) {
  if (recipe.data.sequence_length > config.max_position_embeddings) {
    reject_field("recipe", "data.sequence_length",
                 "at most the model's max_position_embeddings " +
                     number_text(config.max_position_embeddings),
                 number_text(recipe.data.sequence_length));
  }
  const Context context = {recipe, config, tokenizer_path, tokenizer, progress, warn, parallel};
  DataSources sources;
  sources.train = open_named(context, recipe.data.train, "train");
  if (!recipe.data.valid.empty()) sources.valid = open_named(context, recipe.data.valid, "valid");
  return sources;
}

}  // namespace diffllama
