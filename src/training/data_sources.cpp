#include "training/data_sources.h"

#include <string_view>
#include <utility>

#include "config/json_fields.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "training/data/labelled_texts.h"
#include "training/data/language_model_source.h"
#include "training/data/masked_text_source.h"
#include "training/data/question_answering_source.h"
#include "training/data/sequence_classification_source.h"
#include "training/data/tagged_sentences.h"
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

TextColumns text_columns(const DataRecipe& data) {
  return {.text = data.text_column, .text_pair = data.text_pair_column, .label = data.label_column};
}

TagFormat tag_format(const DataRecipe& data) {
  return {.kind = data.kind == DataKind::conllu ? TagFormat::Kind::conllu : TagFormat::Kind::conll,
          .column = data.tag_column,
          .words_column = data.words_column,
          .tags_column = data.tags_column};
}

std::unique_ptr<ExampleSource> language_model(const Context& context,
                                              const std::vector<std::string>& files,
                                              const char* name, BadRows& bad_rows) {
  const DataRecipe& data = context.recipe.data;
  const fs::path shards = data.shard_dir.empty()
                              ? fs::path(context.recipe.checkpoints.output_dir) / "shards"
                              : fs::path(data.shard_dir);
  CorpusOptions options;
  options.paths = as_paths(files);
  options.format = data.kind == DataKind::text ? DocumentFormat::text : DocumentFormat::json_lines;
  options.text_documents = data.text_documents;
  options.append_eos = data.append_eos;
  options.text_column = data.text_column;
  options.bad_rows = &bad_rows;
  options.progress = context.progress;
  options.warn = context.warn;
  TokenShards corpus =
      tokenize_corpus(context.tokenizer, tokenizer_fingerprint(context.tokenizer_path), options,
                      shards / name, context.parallel);
  const std::int64_t length = sequence_length(data, context.config);
  const bool measured = std::string_view(name) == "valid";  // to the last token
  const std::int64_t fewest = measured ? 2 : length;
  if (corpus.tokens() < fewest) {
    throw FormatError(files_text(files) + ": expected at least the " + std::to_string(fewest) +
                      " tokens of one sequence" + (measured ? "" : " (data.sequence_length)") +
                      ", got " + std::to_string(corpus.tokens()));
  }
  return std::make_unique<LanguageModelSource>(
      std::move(corpus), length, data.packing ? Packing::packed : Packing::plain,
      std::make_shared<const TokenByteCounts>(token_bytes_of(context.tokenizer)),
      measured ? LastWindow::kept : LastWindow::dropped);
}

std::unique_ptr<ExampleSource> masked_texts(const Context& context,
                                            const std::vector<std::string>& files,
                                            BadRows& bad_rows) {
  const DataRecipe& data = context.recipe.data;
  MaskedTextOptions options = {
      .chat_template = std::nullopt,
      .messages_column = data.messages_column,
      .prompt_column = data.prompt_column,
      .completion_column = data.completion_column,
      .max_length = sequence_length(data, context.config),
      .token_bytes = std::make_shared<const TokenByteCounts>(token_bytes_of(context.tokenizer))};
  if (data.kind == DataKind::chat) {
    options.chat_template = ChatTemplate::from_pretrained(
        context.tokenizer_path, {.file = data.chat_template, .warn = context.warn});
    if (!options.chat_template) {
      throw FormatError(context.tokenizer_path.string() +
                        ": expected a chat template for data.kind chat, got none "
                        "(data.chat_template names a file)");
    }
  }
  return std::make_unique<MaskedTextSource>(as_paths(files), context.tokenizer, options,
                                            context.parallel, bad_rows);
}

std::unique_ptr<ExampleSource> open_source(const Context& context,
                                           const std::vector<std::string>& files, const char* name,
                                           BadRows& bad_rows) {
  const DataRecipe& data = context.recipe.data;
  const ModelConfig& config = context.config;
  switch (*data.kind) {
    case DataKind::text:
    case DataKind::jsonl:
      return language_model(context, files, name, bad_rows);
    case DataKind::chat:
    case DataKind::completion:
      return masked_texts(context, files, bad_rows);
    case DataKind::classification:
      return std::make_unique<SequenceClassificationSource>(
          as_paths(files), context.tokenizer,
          SequenceClassificationOptions{.labels = config.labels,
                                        .problem_type = config.problem_type,
                                        .max_length = sequence_length(data, config),
                                        .columns = text_columns(data),
                                        .lists = data.label_lists},
          context.parallel, bad_rows);
    case DataKind::squad:
      return std::make_unique<QuestionAnsweringSource>(
          as_paths(files), context.tokenizer,
          QuestionAnsweringOptions{
              .max_length = sequence_length(data, config),
              .doc_stride = data.doc_stride,
              .columns = {.id = data.id_column,
                          .question = data.question_column,
                          .context = data.context_column,
                          .answers = data.answers_column},
              .measured = std::string_view(name) == "valid",
              .measures = {.max_answer_length = data.max_answer_length,
                           .no_answer_threshold = context.recipe.evaluation.no_answer_threshold}},
          context.parallel, bad_rows);
    case DataKind::conll:
    case DataKind::conllu:
      return std::make_unique<TokenClassificationSource>(
          as_paths(files), context.tokenizer,
          TokenClassificationOptions{.labels = config.labels,
                                     .format = tag_format(data),
                                     .max_length = sequence_length(data, config)},
          context.parallel, bad_rows);
  }
  return nullptr;
}

// The source of data.train or data.valid; says when texts lost their end.
std::unique_ptr<ExampleSource> open_named(const Context& context,
                                          const std::vector<std::string>& files, const char* name) {
  BadRows bad_rows(context.recipe.data.skip_bad_rows);
  auto source = open_source(context, files, name, bad_rows);
  if (bad_rows.count() > 0) {
    emit_warning(context.warn, std::string("data.") + name + ": " +
                                   std::to_string(bad_rows.count()) +
                                   " bad rows are skipped, the first: " + bad_rows.first());
  }
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

DataLabels data_labels(const Recipe& recipe, const std::vector<std::string>& names,
                       const WarningHandler& warn) {
  DataLabels labels;
  BadRows bad_rows(recipe.data.skip_bad_rows);
  const std::vector<fs::path> files = as_paths(recipe.data.train);
  if (recipe.data.kind == DataKind::classification) {
    LabelSummary summary = collect_labels(files, text_columns(recipe.data),
                                          {.problem_type = recipe.model.problem_type,
                                           .names = names,
                                           .lists = recipe.data.label_lists},
                                          bad_rows);
    if (!summary.doubt.empty()) {
      emit_warning(warn, files_text(recipe.data.train) + ": " + summary.doubt);
    }
    labels.names = std::move(summary.names);
    labels.problem_type = summary.problem_type;
  } else if (recipe.data.kind == DataKind::conllu || recipe.data.kind == DataKind::conll) {
    labels.names = collect_tags(files, tag_format(recipe.data), bad_rows);
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
  if (!recipe.data.train.empty()) sources.train = open_named(context, recipe.data.train, "train");
  if (!recipe.data.valid.empty()) sources.valid = open_named(context, recipe.data.valid, "valid");
  return sources;
}

}  // namespace diffllama
