#include "diffllama/tensorboard.h"

#include <memory>

#include "diffllama/error.h"
#include "diffllama/generation.h"
#include "training/event_file.h"

namespace diffllama {
namespace {

constexpr std::int64_t kSampleTokens = 64;

std::string layer_tag(const char* name, std::size_t layer) {
  const std::string number = std::to_string(layer);
  return std::string(name).append("/layer_").append(number.size() < 2 ? "0" : "").append(number);
}

// Markdown shows it as it is.
std::string code_block(const std::string& text) {
  return std::string("```\n").append(text) + "\n```";
}

class TrainingEvents {
 public:
  TrainingEvents(const std::filesystem::path& directory, const std::string& recipe);
  void add(const StepMetrics& metrics);
  void add(const EvaluationMetrics& metrics);
  void add_sample(const std::filesystem::path& checkpoint, int threads);

 private:
  EventFile file_;
  std::int64_t step_ = 0;
};

TrainingEvents::TrainingEvents(const std::filesystem::path& directory, const std::string& recipe)
    : file_(directory) {
  file_.add_text("recipe", code_block(recipe), 0);
}

void TrainingEvents::add(const StepMetrics& metrics) {
  step_ = metrics.step;
  if (metrics.skipped) return;
  file_.add_scalar("train/loss", metrics.loss, step_);
  file_.add_scalar("train/learning_rate", metrics.learning_rate, step_);
  file_.add_scalar("train/gradient_norm", metrics.gradient_norm, step_);
  file_.add_scalar("train/epoch", metrics.epoch, step_);
  file_.add_scalar("train/tokens", static_cast<double>(metrics.tokens), step_);
  file_.add_scalar("train/tokens_per_second", metrics.tokens_per_second, step_);
  if (metrics.mfu) file_.add_scalar("train/mfu", *metrics.mfu, step_);
  for (std::size_t i = 0; i < metrics.layers.size(); ++i) {
    file_.add_scalar(layer_tag("lambda", i), metrics.layers[i].lambda, step_);
    file_.add_scalar(layer_tag("rms", i), metrics.layers[i].rms, step_);
    file_.add_scalar(layer_tag("smallest_rms", i), metrics.layers[i].smallest_rms, step_);
  }
}

void TrainingEvents::add(const EvaluationMetrics& metrics) {
  file_.add_scalar("eval/loss", metrics.loss, metrics.step);
  for (const Measure& measure : metrics.measures) {
    file_.add_scalar("eval/" + measure.name, measure.value, metrics.step);
  }
}

void TrainingEvents::add_sample(const std::filesystem::path& checkpoint, int threads) {
  if (!exists(checkpoint / "config.json")) return;  // an adapter
  LoadOptions load;
  load.threads = threads;
  load.warn = [](const std::string&) {};  // said when the run began
  const Model model = Model::from_pretrained(checkpoint, load);
  if (model.config().architecture != Architecture::causal_lm || !model.config().bos_token_id) {
    return;
  }
  const Tokenizer tokenizer = Tokenizer::from_pretrained(checkpoint, load.warn);
  GenerationConfig config;
  config.max_new_tokens = kSampleTokens;
  const std::vector<std::vector<std::int64_t>> prompts = {{*model.config().bos_token_id}};
  file_.add_text("sample", code_block(generate(model, prompts, config, &tokenizer).front().text),
                 step_);
}

}  // namespace

TrainingOptions with_event_file(const TrainingOptions& options,
                                const std::filesystem::path& directory, const std::string& recipe) {
  const auto events = std::make_shared<TrainingEvents>(directory, recipe);
  TrainingOptions added = options;
  added.on_step = [events, own = options.on_step](const StepMetrics& metrics) {
    events->add(metrics);
    if (own) own(metrics);
  };
  added.on_evaluation = [events, own = options.on_evaluation](const EvaluationMetrics& metrics) {
    events->add(metrics);
    if (own) own(metrics);
  };
  added.on_save = [events, options](const std::filesystem::path& checkpoint) {
    try {
      events->add_sample(checkpoint, options.threads);
    } catch (const Error& error) {  // a run without a tokenizer, say: it goes on
      if (options.warn) options.warn(std::string("no text sample: ") + error.what());
    }
    if (options.on_save) options.on_save(checkpoint);
  };
  return added;
}

}  // namespace diffllama
