#include "generation/generator.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "config/generation_config.h"
#include "config/names.h"
#include "config/warnings.h"
#include "diffllama/error.h"
#include "generation/generated_text.h"
#include "generation/last_logits.h"
#include "generation/token_selector.h"
#include "model/forward_batch.h"

namespace diffllama {
namespace {

// Room that a sequence has for new tokens from its beginning; more comes as it is needed.
constexpr std::int64_t kReservedTokens = 4096;

// A sequence while it is being continued.
struct Sequence {
  std::int64_t number = 0;  // prompt * num_return_sequences + stream
  std::uint64_t stream = 0;
  std::vector<std::int64_t> ids;  // the prompt's and the new ones
  std::int64_t prompt_length = 0;
  std::int64_t max_length = 0;  // of ids
  SequenceCache cache;
  std::unique_ptr<GeneratedText> text;    // null without a tokenizer
  std::optional<StopReason> stop_reason;  // set: it has ended
};

void check_request(const ForwardModel& model, std::span<const std::vector<std::int64_t>> prompts,
                   const GenerationConfig& config, const Tokenizer* tokenizer) {
  if (model.config.architecture != Architecture::causal_lm) {
    throw InvalidArgument("[generate] expected a causal LM, got " +
                          architecture_name(model.config.model_type, model.config.architecture));
  }
  if (const std::string problem = find_problem(config); !problem.empty()) {
    throw InvalidArgument("[generate] " + problem);
  }
  if (!config.stop_strings.empty() && tokenizer == nullptr) {
    throw InvalidArgument(
        "[generate] stop_strings: expected a tokenizer to find them with, got "
        "none");
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<std::int64_t>(prompts[i].size());
    if (length == 0) {
      throw InvalidArgument("[generate] prompt " + std::to_string(i) +
                            ": expected at least one token, got none");
    }
    if (config.max_length && length >= *config.max_length) {
      throw InvalidArgument("[generate] prompt " + std::to_string(i) +
                            ": expected fewer tokens than max_length " +
                            std::to_string(*config.max_length) + ", got " + std::to_string(length));
    }
    check_ids("input_ids", prompts[i], model.config.vocab_size);
  }
}

std::vector<std::int64_t> ending_tokens(const ModelConfig& model, const GenerationConfig& config) {
  if (config.ignore_eos) return {};
  return config.eos_token_ids.empty() ? model.eos_token_ids : config.eos_token_ids;
}

class Generator {
 public:
  Generator(const ForwardModel& model, const Parallel& parallel,
            std::span<const std::vector<std::int64_t>> prompts, const GenerationConfig& config,
            const GenerationHooks& hooks)
      : model_(model),
        parallel_(parallel),
        prompts_(prompts),
        config_(config),
        hooks_(hooks),
        eos_token_ids_(ending_tokens(model.config, config)),
        selector_(config, eos_token_ids_),
        total_(static_cast<std::int64_t>(prompts.size()) * config.num_return_sequences),
        prompt_cache_(model.stack.make_cache()),
        last_logits_(model, parallel) {}

  std::vector<GeneratedSequence> run() {
    while (true) {
      admit();
      if (active_.empty()) return std::move(results_);
      const std::span<float> logits = forward();
      const auto vocabulary = static_cast<std::size_t>(model_.config.vocab_size);
      for (std::size_t i = 0; i < active_.size(); ++i) {
        extend(active_[i], logits.subspan(i * vocabulary, vocabulary));
      }
      std::erase_if(active_, [](const Sequence& sequence) { return sequence.stop_reason; });
    }
  }

 private:
  // Lets waiting sequences in.
  void admit() {
    while (next_ < total_ && static_cast<std::int64_t>(active_.size()) < kMaxActiveSequences) {
      const std::int64_t prompt = next_ / config_.num_return_sequences;
      const std::vector<std::int64_t>& ids = prompts_[static_cast<std::size_t>(prompt)];
      const auto length = static_cast<std::int64_t>(ids.size());
      const std::int64_t stream = next_ % config_.num_return_sequences;
      Sequence sequence{.number = next_,
                        .stream = static_cast<std::uint64_t>(stream),
                        .ids = ids,
                        .prompt_length = length,
                        .max_length = config_.max_length.value_or(length + config_.max_new_tokens),
                        .cache = cache_of(ids, stream),
                        .text = nullptr,
                        .stop_reason = std::nullopt};
      sequence.ids.reserve(static_cast<std::size_t>(std::min(
          sequence.max_length, length + kReservedTokens)));  // no allocation while decoding
      if (hooks_.tokenizer != nullptr) {
        sequence.text =
            std::make_unique<GeneratedText>(*hooks_.tokenizer, config_.stop_strings, ids);
      }
      results_.push_back({.prompt_index = prompt, .ids = {}, .text = {}});
      active_.push_back(std::move(sequence));
      ++next_;
    }
  }

  // Sequences that continue one prompt share its keys and values: all but its last token, whose
  // logits each of them needs.
  SequenceCache cache_of(std::span<const std::int64_t> prompt, std::int64_t stream) {
    if (stream == 0) prompt_cache_ = model_.stack.make_cache();
    if (stream == 0 && config_.num_return_sequences > 1) {
      last_logits_.run_but_last({.cache = &prompt_cache_, .ids = prompt});
    }
    return stream + 1 < config_.num_return_sequences ? prompt_cache_.fork()
                                                     : std::move(prompt_cache_);
  }

  // Runs what is new of every active sequence, a prompt or the last token; logits [active, V].
  std::span<float> forward() {
    steps_.clear();
    for (Sequence& sequence : active_) {
      warn_of_length(sequence);
      steps_.push_back({.cache = &sequence.cache, .ids = sequence.ids});
    }
    return last_logits_.run(steps_);
  }

  void warn_of_length(const Sequence& sequence) {
    const std::int64_t limit = model_.config.max_position_embeddings;
    const auto length = static_cast<std::int64_t>(sequence.ids.size());
    if (length <= limit || std::exchange(warned_of_length_, true)) return;
    emit_warning(hooks_.warn, "[generate] a sequence of " + std::to_string(length) +
                                  " tokens is longer than the model's max_position_embeddings " +
                                  std::to_string(limit) + ": expect poor text");
  }

  void extend(Sequence& sequence, std::span<float> logits) {
    const std::int64_t id = selector_.select(
        logits,
        {.ids = sequence.ids, .prompt_length = sequence.prompt_length, .stream = sequence.stream});
    sequence.ids.push_back(id);
    piece_.clear();
    if (sequence.text) piece_ += sequence.text->push(id);
    sequence.stop_reason = stop_reason(sequence, id);
    if (sequence.stop_reason && sequence.text) piece_ += sequence.text->finish();
    if (hooks_.on_token) hooks_.on_token(sequence.number, id, piece_);
    if (sequence.stop_reason) finish(sequence);
  }

  std::optional<StopReason> stop_reason(const Sequence& sequence, std::int64_t id) const {
    if (std::ranges::find(eos_token_ids_, id) != eos_token_ids_.end()) return StopReason::eos;
    if (sequence.text && sequence.text->stopped()) return StopReason::stop_string;
    if (static_cast<std::int64_t>(sequence.ids.size()) >= sequence.max_length) {
      return StopReason::length;
    }
    return std::nullopt;
  }

  void finish(Sequence& sequence) {
    GeneratedSequence& result = results_[static_cast<std::size_t>(sequence.number)];
    result.ids.assign(sequence.ids.begin() + sequence.prompt_length, sequence.ids.end());
    if (sequence.text) result.text = sequence.text->text();
    result.stop_reason = *sequence.stop_reason;
  }

  const ForwardModel& model_;
  const Parallel& parallel_;
  std::span<const std::vector<std::int64_t>> prompts_;
  const GenerationConfig& config_;
  const GenerationHooks& hooks_;
  std::vector<std::int64_t> eos_token_ids_;
  TokenSelector selector_;
  std::int64_t total_;
  std::int64_t next_ = 0;       // the first sequence that has not been let in
  SequenceCache prompt_cache_;  // of the prompt whose sequences are being let in
  std::vector<Sequence> active_;
  std::vector<GeneratedSequence> results_;
  bool warned_of_length_ = false;

  // Used again for every token.
  LastLogits last_logits_;
  std::vector<LastLogits::Sequence> steps_;
  std::string piece_;
};

}  // namespace

std::vector<GeneratedSequence> continue_prompts(const ForwardModel& model, const Parallel& parallel,
                                                std::span<const std::vector<std::int64_t>> prompts,
                                                const GenerationConfig& config,
                                                const GenerationHooks& hooks) {
  check_request(model, prompts, config, hooks.tokenizer);
  return Generator(model, parallel, prompts, config, hooks).run();
}

}  // namespace diffllama
