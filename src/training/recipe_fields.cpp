#include "training/recipe_fields.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "config/json_fields.h"
#include "config/names.h"

namespace diffllama {
namespace {

using nlohmann::json;

/// The names of an enumeration's values, for reading, writing and messages.
template <class E, std::size_t N>
using Names = std::array<std::pair<E, std::string_view>, N>;

constexpr Names<DataKind, 8> kDataKinds = {{{DataKind::text, "text"},
                                            {DataKind::jsonl, "jsonl"},
                                            {DataKind::chat, "chat"},
                                            {DataKind::completion, "completion"},
                                            {DataKind::classification, "classification"},
                                            {DataKind::squad, "squad"},
                                            {DataKind::conllu, "conllu"},
                                            {DataKind::conll, "conll"}}};
constexpr Names<TokenizerKind, 3> kTokenizerKinds = {
    {{TokenizerKind::byte_level_bpe, "bpe"},
     {TokenizerKind::metaspace_bpe, "metaspace-bpe"},
     {TokenizerKind::unigram, "unigram"}}};
constexpr Names<ConlluColumn, 2> kTagColumns = {
    {{ConlluColumn::upos, "upos"}, {ConlluColumn::xpos, "xpos"}}};
constexpr Names<LabelLists, 2> kLabelLists = {
    {{LabelLists::classes, "classes"}, {LabelLists::multi_hot, "multi_hot"}}};
constexpr Names<TextDocuments, 2> kTextDocuments = {
    {{TextDocuments::file, "file"}, {TextDocuments::blank_line, "blank_line"}}};
constexpr Names<SchedulerType, 3> kSchedulerTypes = {{{SchedulerType::linear, "linear"},
                                                      {SchedulerType::cosine, "cosine"},
                                                      {SchedulerType::constant, "constant"}}};
constexpr Names<ComputeType, 2> kComputeTypes = {
    {{ComputeType::float32, "float32"}, {ComputeType::bfloat16, "bfloat16"}}};
constexpr Names<DType, 3> kStoredTypes = {
    {{DType::float32, "float32"}, {DType::bfloat16, "bfloat16"}, {DType::float16, "float16"}}};
constexpr Names<ProblemType, 3> kProblemTypes = {
    {{ProblemType::regression, "regression"},
     {ProblemType::single_label_classification, "single_label_classification"},
     {ProblemType::multi_label_classification, "multi_label_classification"}}};

constexpr double kMostSteps = 9007199254740992.0;  // 2^53: every integer up to it is a double

// As it was most likely typed: 3, not 3.0.
json written(double value) {
  if (value == std::floor(value) && std::abs(value) <= kMostSteps) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

struct Context {
  const std::string& where;
  std::string field;
  const json& value;

  [[noreturn]] void reject(const std::string& expected) const {
    reject_field(where, field, expected, json_excerpt(value));
  }
};

/// Bounds of a number, both allowed unless `above` says that the lower one is not.
struct Range {
  double low = 0;
  double high = std::numeric_limits<double>::infinity();
  bool above = false;

  bool holds(double value) const {
    return (above ? value > low : value >= low) && value <= high && std::isfinite(value);
  }
  std::string text(const std::string& noun) const {
    const std::string from = written(low).dump();
    if (!std::isfinite(high)) return noun + (above ? " above " : " of at least ") + from;
    const std::string to = written(high).dump();
    return noun + (above ? " above " + from + " and at most " : " from " + from + " to ") + to;
  }
};

void read(const Context& context, const Range& range, std::int64_t& value) {
  const Range integers{range.low, std::min(range.high, kMostSteps), range.above};
  if (!context.value.is_number_integer() || !integers.holds(context.value.get<double>())) {
    context.reject(integers.text("an integer"));
  }
  value = context.value.get<std::int64_t>();
}
json written(std::int64_t value) { return value; }

void read(const Context& context, const Range& range, double& value) {
  if (!context.value.is_number() || !range.holds(context.value.get<double>())) {
    context.reject(range.text("a number"));
  }
  value = context.value.get<double>();
}
void read(const Context& context, const Range& range, std::optional<double>& value) {
  value.reset();
  if (!context.value.is_null()) read(context, range, value.emplace());
}
json written(const std::optional<double>& value) { return value ? written(*value) : json(); }

struct Unbounded {};

void read(const Context& context, Unbounded /*limits*/, bool& value) {
  if (!context.value.is_boolean()) context.reject("true or false");
  value = context.value.get<bool>();
}
json written(bool value) { return value; }

void read(const Context& context, Unbounded /*limits*/, std::string& value) {
  if (!context.value.is_string() && !context.value.is_null()) context.reject("a string, or null");
  value = context.value.is_null() ? "" : context.value.get<std::string>();
}
json written(const std::string& value) { return value.empty() ? json() : json(value); }

void read(const Context& context, Unbounded /*limits*/, std::vector<std::string>& value) {
  if (context.value.is_string()) {
    value = {context.value.get<std::string>()};
    return;
  }
  if (!context.value.is_array() && !context.value.is_null()) {
    context.reject("a string or a list of strings");
  }
  std::vector<std::string> texts;
  for (const json& item : context.value) {
    if (!item.is_string()) context.reject("a string or a list of strings");
    texts.push_back(item.get<std::string>());
  }
  value = std::move(texts);
}
json written(const std::vector<std::string>& value) { return value; }

void read(const Context& context, Unbounded /*limits*/, json& value) {
  if (!context.value.is_object() && !context.value.is_string() && !context.value.is_null()) {
    context.reject("an object as in config.json, the path of one, or null");
  }
  value = context.value;
}
json written(const json& value) { return value; }

template <class E, std::size_t N>
void read(const Context& context, const Names<E, N>& names, E& value) {
  std::string allowed;
  for (std::size_t i = 0; i < N; ++i) {
    if (context.value == names[i].second) {
      value = names[i].first;
      return;
    }
    allowed += (i == 0 ? "" : i + 1 == N ? " or " : ", ") + std::string(names[i].second);
  }
  context.reject(allowed);
}
template <class E, std::size_t N>
void read(const Context& context, const Names<E, N>& names, std::optional<E>& value) {
  value.reset();
  if (!context.value.is_null()) read(context, names, value.emplace());
}

template <class E, std::size_t N>
json written_name(const Names<E, N>& names, std::optional<E> value) {
  for (const auto& [item, name] : names) {
    if (value == item) return name;
  }
  return nullptr;
}

class Table {
 public:
  void section(std::string name) { section_ = std::move(name); }

  /// A field of any type that has `read` and `written`.
  template <class Limits, class Get>
  void add(const char* name, Get get, const Limits& limits, const char* help) {
    push(name, get, limits, help, [get](Recipe& recipe) { return written(get(recipe)); });
  }
  template <class E, std::size_t N, class Get>
  void add_name(const char* name, Get get, const Names<E, N>& names, const char* help) {
    push(name, get, names, help,
         [get, &names](Recipe& recipe) { return written_name<E, N>(names, get(recipe)); });
    fields.back().takes_text = true;
  }

  std::vector<RecipeFieldAccess> fields;

 private:
  template <class Limits, class Get>
  void push(const char* name, Get get, const Limits& limits, const char* help,
            std::function<json(Recipe&)> write) {
    using Value = std::remove_reference_t<decltype(get(std::declval<Recipe&>()))>;
    RecipeFieldAccess field;
    field.section = section_;
    field.name = name;
    field.help = help;
    field.takes_text = std::is_same_v<Limits, Unbounded> && !std::is_same_v<Value, bool>;
    field.read = [get, limits, full = field.full_name()](Recipe& recipe, const json& value,
                                                         const std::string& where) {
      read(Context{where, full, value}, limits, get(recipe));
    };
    field.write = std::move(write);
    fields.push_back(std::move(field));
  }

  std::string section_;
};

constexpr Range kAtLeast0{};
constexpr Range kAtLeast1{.low = 1};
// What sizes memory: beyond these an allocation would fail that names no field.
constexpr Range kBatch{.low = 1, .high = 65'536};
constexpr Range kTokens{.high = 16'777'216};
constexpr Range kAbove0{.low = 0, .above = true};
constexpr Range kShare{.low = 0, .high = 1};

void add_model(Table& table) {
  table.section("model");
  const auto model = []<class M>(M ModelRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.model.*member; };
  };
  table.add("from", model(&ModelRecipe::from), Unbounded{},
            "Model to go on from: a Hugging Face directory or a .gguf file");
  table.add("config", model(&ModelRecipe::config), Unbounded{},
            "In place of from, a new model: the object of a config.json, or its path");
  table.add("tokenizer", model(&ModelRecipe::tokenizer), Unbounded{},
            "Directory, tokenizer.json or .gguf of the tokenizer; null: that of from");
  table.add_name("dtype", model(&ModelRecipe::dtype), kStoredTypes,
                 "How weights are stored: float32, bfloat16 or float16; null: as from or config "
                 "says. They are trained in float32");
  table.add("labels", model(&ModelRecipe::labels), Unbounded{},
            "Names of the classes; empty: those of the data, sorted");
  table.add_name("problem_type", model(&ModelRecipe::problem_type), kProblemTypes,
                 "Of classification; null: by the labels");
}

void add_tokenizer(Table& table) {
  table.section("tokenizer");
  const auto tokenizer = []<class M>(M TokenizerRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.tokenizer.*member; };
  };
  table.add_name("type", tokenizer(&TokenizerRecipe::type), kTokenizerKinds,
                 "For a new model, trains a tokenizer first: bpe, metaspace-bpe or unigram, as "
                 "`tokenizer train` does; null: none, model.tokenizer is taken");
  table.add("vocab_size", tokenizer(&TokenizerRecipe::vocab_size), kAtLeast0,
            "Its tokens at most; 0: the model's vocab_size");
  table.add("min_frequency", tokenizer(&TokenizerRecipe::min_frequency), kAtLeast1,
            "How often a pair of tokens must stand in the texts to be merged");
  table.add("bos_token", tokenizer(&TokenizerRecipe::bos_token), Unbounded{},
            "A special token put before each text; null: none");
  table.add("eos_token", tokenizer(&TokenizerRecipe::eos_token), Unbounded{},
            "A special token put after each text; null: none");
  table.add("special_tokens", tokenizer(&TokenizerRecipe::special_tokens), Unbounded{},
            "Further special tokens");
  table.add("files", tokenizer(&TokenizerRecipe::files), Unbounded{},
            "Texts to train it on, as `tokenizer train` reads them; empty: data.train");
}

void add_data(Table& table) {
  table.section("data");
  const auto data = []<class M>(M DataRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.data.*member; };
  };
  table.add_name(
      "kind", data(&DataRecipe::kind), kDataKinds,
      "text, jsonl (rows of texts: language modelling), chat, completion (the same, with "
      "a loss of answers alone), classification (rows with labels), squad (question "
      "answering), conllu or conll (columns: token classification)");
  table.add("train", data(&DataRecipe::train), Unbounded{}, "Files to train on");
  table.add("valid", data(&DataRecipe::valid), Unbounded{}, "Files to evaluate on; may be empty");
  table.add("sequence_length", data(&DataRecipe::sequence_length), kTokens,
            "Tokens of a window; for the heads the most tokens of an example; 0: 512, or the "
            "model's max_position_embeddings where they are fewer");
  table.add("packing", data(&DataRecipe::packing), Unbounded{},
            "Language modelling: attention does not cross documents; false: it does");
  table.add("append_eos", data(&DataRecipe::append_eos), Unbounded{},
            "Language modelling: an end of sequence after each document");
  table.add_name("text_documents", data(&DataRecipe::text_documents), kTextDocuments,
                 "text: what a document of a file is: file, all of it, or blank_line, its lines up "
                 "to a blank one");
  table.add("doc_stride", data(&DataRecipe::doc_stride), kAtLeast1,
            "squad: tokens that two windows of a long context share");
  table.add("max_answer_length", data(&DataRecipe::max_answer_length), kAtLeast1,
            "squad: the most tokens of an answer that an evaluation takes");
  table.add_name("tag_column", data(&DataRecipe::tag_column), kTagColumns, "conllu: upos or xpos");
  const auto column = [&](const char* name, auto member, const char* help) {
    table.add(name, data(member), Unbounded{}, help);
  };
  column("text_column", &DataRecipe::text_column,
         "Rows: the column or field of the text; a.b is b inside of a, here and below");
  column("text_pair_column", &DataRecipe::text_pair_column, "classification: of a second text");
  column("label_column", &DataRecipe::label_column, "classification: of the label");
  table.add_name("label_lists", data(&DataRecipe::label_lists), kLabelLists,
                 "classification: what lists of integers are: classes, their numbers, or "
                 "multi_hot, a 0 or 1 for each class; null: classes, where that is clear");
  column("id_column", &DataRecipe::id_column, "squad rows: of the question's id, if any");
  column("question_column", &DataRecipe::question_column, "squad rows: of the question");
  column("context_column", &DataRecipe::context_column, "squad rows: of the context");
  column("answers_column", &DataRecipe::answers_column,
         "squad rows: of the answers, lists text and answer_start");
  column("words_column", &DataRecipe::words_column, "conll rows: of the list of words");
  column("tags_column", &DataRecipe::tags_column, "conll rows: of the list of tags");
  column("messages_column", &DataRecipe::messages_column, "chat: of the list of messages");
  column("prompt_column", &DataRecipe::prompt_column, "completion: of the prompt");
  column("completion_column", &DataRecipe::completion_column, "completion: of what follows it");
  column("chat_template", &DataRecipe::chat_template,
         "chat: a file with the template; null: the model's own");
  table.add("skip_bad_rows", data(&DataRecipe::skip_bad_rows), kAtLeast0,
            "Rows that cannot be read and are left out, at most, before the run is given up");
  table.add("shard_dir", data(&DataRecipe::shard_dir), Unbounded{},
            "Where tokenised text is kept; null: OUTPUT_DIR/shards");
}

void add_training(Table& table) {
  table.section("training");
  const auto training = []<class M>(M TrainingRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.training.*member; };
  };
  table.add("num_train_epochs", training(&TrainingRecipe::num_train_epochs), kAbove0,
            "Times that the data is gone through, unless max_steps is set");
  table.add("max_steps", training(&TrainingRecipe::max_steps), kAtLeast0,
            "Steps of the optimizer; 0: by num_train_epochs");
  table.add("batch_size", training(&TrainingRecipe::batch_size), kBatch,
            "Examples that go through the model at once");
  table.add("gradient_accumulation_steps", training(&TrainingRecipe::gradient_accumulation_steps),
            kAtLeast1, "Batches of one step; the same as one batch of them all");
  table.add("max_grad_norm", training(&TrainingRecipe::max_grad_norm), kAtLeast0,
            "Gradients are scaled down to this norm; 0: never");
  table.add("seed", training(&TrainingRecipe::seed), kAtLeast0,
            "Of initial values, shuffling and dropout");
  table.add_name("dtype", training(&TrainingRecipe::dtype), kComputeTypes,
                 "How products are computed: float32, or bfloat16 summed in float32");
  table.add("recompute_activations", training(&TrainingRecipe::recompute_activations), Unbounded{},
            "Saves memory, costs a second forward; the same result");
  table.add("train_only", training(&TrainingRecipe::train_only), Unbounded{},
            "Parameters that are trained, groups (lambda, dex, attention, mlp, norms, embeddings, "
            "head) or globs over names (*.self_attn.q_proj.weight); empty: all");
  table.add("freeze", training(&TrainingRecipe::freeze), Unbounded{},
            "Parameters that stay as they are, chosen in the same way");
  table.add("lambda_warmup_steps", training(&TrainingRecipe::lambda_warmup_steps), kAtLeast0,
            "DEX: steps over which its lambda counts more and more, linearly from 0");
}

void add_optimizer(Table& table) {
  table.section("optimizer");
  table.add(
      "learning_rate", [](Recipe & recipe) -> auto& { return recipe.optimizer.learning_rate; },
      kAtLeast0, "The schedule's peak");
  const auto adam = [](double AdamW::Options::*member) {
    return [member](Recipe& recipe) -> double& { return recipe.optimizer.adam.*member; };
  };
  table.add("weight_decay", adam(&AdamW::Options::weight_decay), kAtLeast0,
            "AdamW's; norms, biases and lambda vectors have none");
  table.add("adam_beta1", adam(&AdamW::Options::beta1), Range{.low = 0, .high = 0.9999999},
            "Decay of the first moment");
  table.add("adam_beta2", adam(&AdamW::Options::beta2), Range{.low = 0, .high = 0.9999999},
            "Decay of the second moment");
  table.add("adam_epsilon", adam(&AdamW::Options::eps), kAbove0, "Added to the root of it");
}

void add_schedule(Table& table) {
  table.section("schedule");
  const auto schedule = []<class M>(M ScheduleRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.schedule.*member; };
  };
  table.add_name("lr_scheduler_type", schedule(&ScheduleRecipe::lr_scheduler_type), kSchedulerTypes,
                 "linear, cosine or constant, each after the warm-up");
  table.add("warmup_steps", schedule(&ScheduleRecipe::warmup_steps), kAtLeast0,
            "Steps of the linear warm-up from 0");
  table.add("warmup_ratio", schedule(&ScheduleRecipe::warmup_ratio), kShare,
            "The same as a share of all steps, where warmup_steps is 0");
  table.add("min_lr_rate", schedule(&ScheduleRecipe::min_lr_rate), kShare,
            "cosine: share of the learning rate that it ends at");
}

void add_lora(Table& table) {
  table.section("lora");
  const auto lora = []<class M>(M LoraConfig::*member) {
    return [member](Recipe& recipe) -> M& {
      if (!recipe.lora) recipe.lora.emplace();
      return (*recipe.lora).*member;
    };
  };
  table.add("r", lora(&LoraConfig::rank), kAtLeast1, "Rank");
  table.add("lora_alpha", lora(&LoraConfig::alpha), kAtLeast0, "Scaling is lora_alpha / r");
  table.add("lora_dropout", lora(&LoraConfig::dropout), Range{.low = 0, .high = 0.9999999},
            "Of what enters the adapter");
  table.add("use_rslora", lora(&LoraConfig::rslora), Unbounded{},
            "Scaling is lora_alpha / sqrt(r)");
  table.add("target_modules", lora(&LoraConfig::target_modules), Unbounded{},
            "Layers that get an adapter, by the ends of their names");
  table.add("modules_to_save", lora(&LoraConfig::modules_to_save), Unbounded{},
            "Layers that are trained whole");
}

void add_evaluation(Table& table) {
  table.section("evaluation");
  const auto evaluation = []<class M>(M EvaluationRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.evaluation.*member; };
  };
  table.add("eval_steps", evaluation(&EvaluationRecipe::eval_steps), kAtLeast0,
            "Evaluates every so many steps, and at the end; 0: at the end alone");
  table.add("batch_size", evaluation(&EvaluationRecipe::batch_size), kBatch, "Examples at once");
  table.add("no_answer_threshold", evaluation(&EvaluationRecipe::no_answer_threshold),
            Range{.low = -std::numeric_limits<double>::infinity()},
            "squad with questions that have no answer: how much the empty answer's score must "
            "exceed the best span's");
}

void add_checkpoints(Table& table) {
  table.section("checkpoints");
  const auto checkpoints = []<class M>(M CheckpointsRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.checkpoints.*member; };
  };
  table.add("output_dir", checkpoints(&CheckpointsRecipe::output_dir), Unbounded{},
            "Where checkpoints, metrics.jsonl and recipe.json go");
  table.add("save_steps", checkpoints(&CheckpointsRecipe::save_steps), kAtLeast0,
            "Saves every so many steps, and at the end; 0: at the end alone");
  table.add("save_total_limit", checkpoints(&CheckpointsRecipe::save_total_limit), kAtLeast0,
            "Checkpoints that are kept, the newest, besides the best; 0: all");
  table.add("save_best", checkpoints(&CheckpointsRecipe::save_best), Unbounded{},
            "Saves whenever an evaluation is the best so far, and keeps it");
  table.add(
      "best_metric", checkpoints(&CheckpointsRecipe::best_metric), Unbounded{},
      "What the best is told by: loss, or a measure of the evaluation (accuracy, macro_f1, "
      "matthews_correlation, pearson, spearman, exact_match, f1, entity_f1, perplexity, ...)");
}

void add_metrics(Table& table) {
  table.section("metrics");
  const auto metrics = []<class M>(M MetricsRecipe::*member) {
    return [member](Recipe& recipe) -> M& { return recipe.metrics.*member; };
  };
  table.add("logging_steps", metrics(&MetricsRecipe::logging_steps), kAtLeast1,
            "Writes a line of metrics.jsonl every so many steps");
  table.add("spike_factor", metrics(&MetricsRecipe::spike_factor), kAtLeast0,
            "Stops when the loss is more than this times its running mean; 0: never; null: 3 in "
            "language modelling, else never");
}

std::vector<RecipeFieldAccess> make_table() {
  Table table;
  add_model(table);
  add_tokenizer(table);
  add_data(table);
  add_training(table);
  add_optimizer(table);
  add_schedule(table);
  add_lora(table);
  add_evaluation(table);
  add_checkpoints(table);
  add_metrics(table);
  return std::move(table.fields);
}

}  // namespace

const std::vector<RecipeFieldAccess>& recipe_field_table() {
  static const std::vector<RecipeFieldAccess> table = make_table();
  return table;
}

}  // namespace diffllama
